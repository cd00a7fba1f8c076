"""A p4p (pvxs) server of one PV, which posts what it is told to."""

import json
import sys
from typing import Any

import numpy as np
from p4p import Value
from p4p.nt import NTEnum, NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from sim.console import serve
from tests.support.compress import compress
from tests.support.images import UNION_MEMBERS, image

SCALAR_TYPES = dict(
    zip(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "bhilBHIL", strict=True)
)
TYPE = NTNDArray().type


def ntndarray(
    unique_id: int,
    dtype: str = "uint16",
    shape: tuple[int, ...] = (3, 4),
    *,
    codec: str = "",
    stamp: tuple[int, int] = (1_700_000_000, 5),
    attributes: dict[str, Any] | None = None,
    severity: int = 0,
    blob: str | None = None,
) -> Value:
    pixels = image(dtype, shape, unique_id)
    member, data, parameters = UNION_MEMBERS[dtype], pixels.reshape(-1), None
    if codec:
        data, parameters = compress(codec, pixels)
        member, codec = "ubyteValue", codec.partition("+")[0]
    if blob is not None:
        data, member = np.frombuffer(bytes.fromhex(blob), np.uint8), "ubyteValue"
    time = {"secondsPastEpoch": stamp[0], "nanoseconds": stamp[1], "userTag": unique_id & 0xFFFF}
    return Value(
        TYPE,
        {
            "value": (member, data),
            "codec": {"name": codec, "parameters": parameters},
            "compressedSize": data.nbytes,
            "uncompressedSize": pixels.nbytes,
            "uniqueId": unique_id,
            "dataTimeStamp": {**time, "secondsPastEpoch": stamp[0] - 1},
            "timeStamp": time,
            "alarm": {"severity": severity, "status": 0, "message": "ok"},
            "dimension": [
                {"size": n, "offset": 0, "fullSize": n, "binning": 1, "reverse": False} for n in reversed(shape)
            ],
            "attribute": [{"name": name, "value": value} for name, value in (attributes or {}).items()],
        },
    )


class Camera:
    """One PV; ``kind`` is its type."""

    def __init__(self, name: str, kind: str, first: dict[str, Any] | None) -> None:
        self.kind = kind
        self.pv = SharedPV()
        self.nt = {
            "ntndarray": None,
            "string": NTScalar("s"),
            "strings": NTScalar("as"),
            "enum": NTEnum(),
            "double": NTScalar("d"),
            "short": NTScalar("h"),
            "array": NTScalar("aH"),
        }[kind]
        self.pv.open(Value(TYPE, {}) if kind == "ntndarray" and first is None else self._value(first or {}))
        self.server = Server(providers=[{name: self.pv}])

    def _value(self, what: dict[str, Any]) -> Value:
        if self.kind == "ntndarray":
            return ntndarray(**what)
        value = what.get("value", "" if self.kind == "string" else 0)
        if self.kind == "array":
            value = image("uint16", (what["count"],), what["seed"])
        assert self.nt is not None
        return self.nt.wrap(value, timestamp=what.get("timestamp", 1_700_000_000.0))

    def post(self, **what: Any) -> None:
        self.pv.post(self._value(what))

    def burst(self, start: int, count: int, **what: Any) -> None:
        for unique_id in range(start, start + count):
            self.post(unique_id=unique_id, **what)

    def only(self, **fields: Any) -> None:
        """Post single fields, without the rest."""
        if "value" in fields:
            fields["value"] = tuple(fields["value"])
        self.pv.post(Value(TYPE, fields))

    def reopen(self, first: dict[str, Any] | None = None) -> None:
        """Close the channel under its clients, and open it again."""
        self.pv.close(destroy=True)
        self.pv.open(Value(TYPE, {}) if first is None else self._value(first))

    def clients(self) -> int:
        return len(self.server.stats()) if hasattr(self.server, "stats") else 0


def main(name: str, kind: str = "ntndarray", first: str = "null") -> None:
    camera = Camera(name, kind, json.loads(first))
    with camera.server:
        serve({"post": camera.post, "burst": camera.burst, "only": camera.only, "reopen": camera.reopen})


if __name__ == "__main__":
    main(*sys.argv[1:])
