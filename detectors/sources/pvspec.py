"""PV specifications: ``[alias=][provider/]PV[.field][,firstdim]``, or ``[shape]``, ``(type)`` or both instead of the firstdim.

Source: LCLS-II's PvDetector. The PV's name ends at its first ``.``; ``[1]`` is a scalar, ``[n]`` rank 1, ``[a,b]`` rank 2,
slowest dimension first.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from detectors.errors import ConfigError
from detectors.pixels import PIXEL_TYPES

PROVIDERS: Final = ("pva", "ca")

STRING_DTYPE: Final = "str"
"""``string`` of a specification: text, in memory uint8[STRING_BYTES]."""

_TYPES: Final = {
    "bool": "uint8",
    "byte": "int8",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "ubyte": "uint8",
    "ushort": "uint16",
    "uint": "uint32",
    "ulong": "uint64",
    "float": "float32",
    "double": "float64",
    "string": STRING_DTYPE,
    "charstr": STRING_DTYPE,
    "enum": "int32",
    "enumval": "int32",
    **{name: name for name in PIXEL_TYPES},
}
"""The types of a specification: pvData's, those of LCLS-II's data files, numpy's."""

_FORM: Final = "[alias=][provider/]PV[.field][,firstdim] or [alias=][provider/]PV[.field][[shape]][(type)]"

_SPEC: Final = re.compile(
    r"""
    (?: (?P<alias> [^=/.,\[\]()]* ) = )?
    (?: (?P<provider> [^=/.,\[\]()]* ) / )?
    (?P<pv> [^=/.,\[\]()\s]+ )
    (?: \. (?P<field> [^=/,\[\]()\s]* ) )?
    (?: , \s* (?P<firstdim> [^\[\]()]* ) | (?: \[ (?P<shape> [^\[\]()]* ) \] )? (?: \( (?P<type> [^()]* ) \) )? )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class PvSpec:
    """One PV as specified."""

    alias: str
    """Name of the detector."""
    provider: str
    """"pva" or "ca"."""
    pv: str
    field: str = "value"
    """Field of the PV's structure that holds the image, as a dotted path."""
    firstdim: int | None = None
    """Turns n elements of rank 1 into [firstdim, n // firstdim]."""
    shape: tuple[int, ...] | None = None
    """Expected shape, slowest first; () for a scalar, None when not given."""
    dtype: str | None = None
    """Expected numpy dtype, or STRING_DTYPE; None when not given."""

    @property
    def name(self) -> str:
        """The PV and its field, for messages."""
        return self.pv if self.field == "value" else f"{self.pv}.{self.field}"


def parse_pv_spec(text: str, default_alias: str) -> PvSpec:
    """Return the PV that ``text`` specifies. Raises ConfigError, one line, when it does not follow the form."""
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"pv: found {text!r}, expected {_FORM}")
    alias, provider, field = found["alias"], found["provider"], found["field"]
    if alias == "":
        raise ConfigError(f"pv {text!r}: found no name before '=', expected an alias")
    if provider is not None and provider not in PROVIDERS:
        raise ConfigError(f"pv {text!r}: found provider {provider!r}, expected one of {', '.join(PROVIDERS)}")
    if field is not None and not all(field.split(".")):
        raise ConfigError(f"pv {text!r}: found field {field!r}, expected a name after the '.'")
    return PvSpec(
        alias or default_alias,
        provider or "pva",
        found["pv"],
        field or "value",
        firstdim=None if found["firstdim"] is None else _dimension(text, "firstdim", found["firstdim"]),
        shape=None if found["shape"] is None else _shape(text, found["shape"]),
        dtype=None if found["type"] is None else _dtype(text, found["type"]),
    )


def _dimension(text: str, what: str, digits: str) -> int:
    digits = digits.strip()
    # 18 digits hold any size that a machine can have, and keep int() quick
    if not re.fullmatch(r"[0-9]{1,18}", digits) or int(digits) < 1:
        raise ConfigError(f"pv {text!r}: found {what} {digits!r}, expected a whole number of at least 1")
    return int(digits)


def _shape(text: str, inside: str) -> tuple[int, ...]:
    sizes = tuple(_dimension(text, "size", digits) for digits in inside.split(","))
    if math.prod(sizes) >= 1 << 48:
        raise ConfigError(f"pv {text!r}: found {math.prod(sizes)} elements, expected an array that fits in memory")
    return () if sizes == (1,) else sizes


def _dtype(text: str, name: str) -> str:
    try:
        return _TYPES[name.strip().lower()]
    except KeyError:
        raise ConfigError(f"pv {text!r}: found type {name!r}, expected one of {', '.join(_TYPES)}") from None
