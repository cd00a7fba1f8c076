"""pvAccess's encoding, written a second time from the specification: the simulated server's, which the parser is tested with.

Types are plain Python: "int", "double[]", "string", "any", "any[]", ("struct", id, {name: type}), ("union", id, {...}),
("struct[]", ...), ("union[]", ...), ("bounded string", n), ("bounded int", n), ("fixed int", n). Values of unions are
(member, value) or None; values of variants are (type, value) or None.
"""

import struct
from typing import Any, Literal

import numpy as np

CODES = {
    "boolean": (0x00, "?"),
    "byte": (0x20, "b"),
    "short": (0x21, "h"),
    "int": (0x22, "i"),
    "long": (0x23, "q"),
    "ubyte": (0x24, "B"),
    "ushort": (0x25, "H"),
    "uint": (0x26, "I"),
    "ulong": (0x27, "Q"),
    "float": (0x42, "f"),
    "double": (0x43, "d"),
}
COMPOSITES = {"struct": 0x80, "union": 0x81, "struct[]": 0x88, "union[]": 0x89}


class Encoder:
    """Encodes in one byte order."""

    def __init__(self, *, big: bool = False) -> None:
        self.order: Literal["<", ">"] = ">" if big else "<"

    def pack(self, codes: str, *values: Any) -> bytes:
        """Return values by struct's ``codes``."""
        return struct.pack(self.order + codes, *values)

    def size(self, size: int | None) -> bytes:
        """Return a size; None is null."""
        if size is None:
            return b"\xff"
        return bytes([size]) if size < 254 else b"\xfe" + self.pack("I", size)

    def string(self, text: str) -> bytes:
        """Return a string behind its size."""
        data = text.encode()
        return self.size(len(data)) + data

    def bits(self, bits: int) -> bytes:
        """Return a bit set."""
        data = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
        if self.order == ">":
            whole = len(data) // 8 * 8
            data = b"".join(data[i : i + 8][::-1] for i in range(0, whole, 8)) + data[whole:]
        return self.size(len(data)) + data

    def type(self, kind: Any) -> bytes:
        """Return the description of a type; None is null."""
        if kind is None:
            return b"\xff"
        if isinstance(kind, str):
            name, array = kind.removesuffix("[]"), 0x08 if kind.endswith("[]") else 0
            code = {"string": 0x60, "any": 0x82}.get(name) or CODES[name][0]
            return bytes([code | array])
        what, *rest = kind
        if what == "cached":  # ("cached", number): described before
            return b"\xfe" + self.pack("H", rest[0])
        if what == "as":  # ("as", number, type): described now, under a number
            return b"\xfd" + self.pack("H", rest[0]) + self.type(rest[1])
        if what == "bounded string":
            return b"\x83" + self.size(rest[0])
        if what.startswith(("bounded ", "fixed ")):
            flag, name = what.split()
            return bytes([CODES[name][0] | (0x10 if flag == "bounded" else 0x18)]) + self.size(rest[0])
        type_id, fields = rest
        if what.endswith("[]"):
            return bytes([COMPOSITES[what]]) + self.type((what[:-2], type_id, fields))
        described = b"".join(self.string(name) + self.type(field) for name, field in fields.items())
        return bytes([COMPOSITES[what]]) + self.string(type_id) + self.size(len(fields)) + described

    def value(self, kind: Any, value: Any) -> bytes:
        """Return a value of a type."""
        if kind == "string":
            return self.string(value)
        if kind == "any":
            return b"\xff" if value is None else self.type(value[0]) + self.value(*value)
        if isinstance(kind, str) and not kind.endswith("[]"):
            return self.pack(CODES[kind][1], value)
        if isinstance(kind, str):
            return self._array(kind.removesuffix("[]"), value)
        what, *rest = kind
        if what == "as":
            return self.value(rest[1], value)
        if what == "bounded string":
            return self.string(value)
        if what.startswith("bounded "):
            return self._array(what.split()[1], value)
        if what.startswith("fixed "):
            return self._elements(what.split()[1], value)
        if what.endswith("[]"):
            return self.size(len(value)) + b"".join(
                b"\0" if v is None else b"\1" + self.value((what[:-2], *rest), v) for v in value
            )
        fields = rest[1]
        if what == "struct":
            return b"".join(self.value(field, value[name]) for name, field in fields.items())
        if value is None:
            return b"\xff"
        return self.size(list(fields).index(value[0])) + self.value(fields[value[0]], value[1])

    def _array(self, name: str, value: Any) -> bytes:
        if name == "string":
            return self.size(len(value)) + b"".join(map(self.string, value))
        if name == "any":
            return self.size(len(value)) + b"".join(b"\0" if v is None else b"\1" + self.value("any", v) for v in value)
        return self.size(len(value)) + self._elements(name, value)

    def _elements(self, name: str, value: Any) -> bytes:
        return np.asarray(value, np.dtype(CODES[name][1]).newbyteorder(self.order)).tobytes()


TIME = ("struct", "time_t", {"secondsPastEpoch": "long", "nanoseconds": "int", "userTag": "int"})
ALARM = ("struct", "alarm_t", {"severity": "int", "status": "int", "message": "string"})
PIXELS = ("union", "", {f"{name}Value": f"{name}[]" for name in CODES})
DIMENSION = {"size": "int", "offset": "int", "fullSize": "int", "binning": "int", "reverse": "boolean"}
ATTRIBUTE = {
    "name": "string",
    "value": "any",
    "tags": "string[]",
    "descriptor": "string",
    "alarm": ALARM,
    "timeStamp": TIME,
    "sourceType": "int",
    "source": "string",
}
NTNDARRAY = (
    "struct",
    "epics:nt/NTNDArray:1.0",
    {
        "value": PIXELS,
        "codec": ("struct", "codec_t", {"name": "string", "parameters": "any"}),
        "compressedSize": "long",
        "uncompressedSize": "long",
        "uniqueId": "int",
        "dataTimeStamp": TIME,
        "alarm": ALARM,
        "timeStamp": TIME,
        "dimension": ("struct[]", "dimension_t", DIMENSION),
        "attribute": ("struct[]", "epics:nt/NTAttribute:1.0", ATTRIBUTE),
    },
)

_MEMBERS = dict(zip("?bhiqBHIQfd", PIXELS[2], strict=True))


def ntndarray(pixels: np.ndarray | None, unique_id: int, attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields of an NTNDArray, uncompressed; attributes are of type int."""
    stamp = {"secondsPastEpoch": 1_700_000_000, "nanoseconds": unique_id & 0xFFFF, "userTag": 0}
    no_alarm = {"severity": 0, "status": 0, "message": ""}
    shape, nbytes = ((), 0) if pixels is None else (pixels.shape, pixels.nbytes)
    char = (
        ""
        if pixels is None
        else np.dtype(f"{pixels.dtype.kind}{pixels.itemsize}").char.replace("l", "q").replace("L", "Q")
    )
    return {
        "value": None if pixels is None else (_MEMBERS[char.replace("p", "q")], pixels.reshape(-1)),
        "codec": {"name": "", "parameters": None},
        "compressedSize": nbytes,
        "uncompressedSize": nbytes,
        "uniqueId": unique_id,
        "dataTimeStamp": stamp,
        "alarm": no_alarm,
        "timeStamp": stamp,
        "dimension": [{"size": n, "offset": 0, "fullSize": n, "binning": 1, "reverse": False} for n in reversed(shape)],
        "attribute": [
            {
                "name": name,
                "value": ("int", value),
                "tags": [],
                "descriptor": "",
                "alarm": no_alarm,
                "timeStamp": stamp,
                "sourceType": 0,
                "source": "",
            }
            for name, value in (attributes or {}).items()
        ],
    }
