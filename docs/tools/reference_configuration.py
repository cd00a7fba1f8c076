"""The page of the configuration: every section and key, read from the models in ``detectors.config.sections``."""

import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from attribute_docs import attribute_docs
from pydantic import AfterValidator, ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from detectors.config import Config, sections
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.mosaic import ModulePlace

_HEAD: Final = """\
# Configuration

Written by `python docs/tools/make_reference.py` from `detectors/config/sections.py`: change that, not this page.

One TOML file describes one server. `pebbledaq check CONFIG` checks it; every mistake is reported with its place, what was found and
what is expected. A key that is not listed here is a mistake, too. Files to start from are in `examples/`.

Only `[detector]` and at least one `[[udp]]` or `[[pva]]` table are required. `[dma]` and `[pools]` hold for all sources, unless a source
has a table of its own (`dma`, `pools`). All keys of a section that is left out have their defaults, except where the page says that there is none without it.

| type | what is written |
|---|---|
| name | a letter and at most 31 more letters, digits, `-` and `_` |
| size | a number of bytes, or a text such as `"64 MiB"` or `"1 GB"` |
| path | an absolute path; `~` is the home folder |
| list of ... | `["a", "b"]`, `[1, 2]` |
| refused | the key is known, and refused with the reason |

"s" in a text are seconds. The default "required" means that the key must be there, "-" that the text says what holds when it is left out.
"""

_NAMES: Final[dict[Any, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true, false",
    Path: "path",
    IPv4Address: "IPv4 address",
    ByteSize: "size",
    ModuleGeometry: "name or [table](#geometry)",
    ModulePlace: "[table](#place)",
}
_VALIDATED: Final = {"_name": "name", "_not_settable": "refused", "_not_a_key": "refused"}
"""Types that a validator makes of others, by its name."""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for name, info in Config.model_fields.items():
        model, repeated = _model(info.annotation)
        title = f"[[{name}]]" if repeated else f"[{name}]"
        absent = " There is none without this section." if info.default is None else ""
        parts.append(f"## {title}\n\n{_docs(model)}{absent}\n\n{_table(_rows(model))}")
    parts.append(
        f"## tuning\n\nOf each source: `tuning = {{ cpus = [2], realtime_priority = 5 }}`. {_docs(sections.WorkerTuning)}\n\n"
        f"{_table(_rows(sections.WorkerTuning))}"
    )
    known = ", ".join(f"`{name}`" for name in GEOMETRIES)
    parts.append(
        "## geometry\n\nOf a `[[udp]]` table: one of the names "
        f"{known} ([what they mean](formats.md#packets)), or a table.\n\n{_table(_fields(ModuleGeometry, 'name'))}"
    )
    parts.append(
        "## place\n\nOf a `[[udp]]` table, for [images with gaps](formats.md#images-with-gaps).\n\n"
        f"{_table(_fields(ModulePlace, 'chips'))}"
    )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _docs(model: type) -> str:
    return " ".join((model.__doc__ or "").split())


def _model(annotation: Any) -> tuple[type[sections.Section], bool]:
    """Return the model of a section, and whether there may be several."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    inner = [a for a in get_args(annotation) if a is not type(None)]
    return (inner[0] if inner else annotation), False


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| key | type | default | what |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _rows(model: type[sections.Section]) -> Iterator[tuple[str, ...]]:
    for name, info in model.model_fields.items():
        yield f"`{info.alias or name}`", _type(info.annotation, info.metadata), _default(info), _text(info.description)


def _fields(kind: Any, apart: str) -> Iterator[tuple[str, ...]]:
    """Rows of a dataclass, without one of its fields."""
    docs = attribute_docs(kind)
    for field in fields(kind):
        if field.name != apart:
            default = "required" if field.default is MISSING else _value(field.default)
            yield f"`{field.name}`", _NAMES[field.type], default, _text(docs[field.name])


def _text(description: str | None) -> str:
    if description is None:
        raise ValueError("found a key without a text, expected one below the field")
    return " ".join(description.split())


def _type(annotation: Any, metadata: list[Any]) -> str:
    for rule in metadata:
        if isinstance(rule, AfterValidator) and getattr(rule.func, "__name__", "") in _VALIDATED:
            return _VALIDATED[rule.func.__name__]
    name = _bare(annotation)
    bounds = _bounds(metadata)
    return f"{name}, {bounds}" if bounds else name


def _bare(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], _flat(inner[1:]))
    if origin is Literal:
        return ", ".join(_value(value) for value in inner)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is not ...:
            return f"list of two: {_bare(inner[0])}"
        return f"list of {_bare(inner[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_bare(kind) for kind in inner if kind is not type(None)))
    if isinstance(annotation, type) and issubclass(annotation, sections.Section):
        where = "tuning" if annotation is sections.WorkerTuning else annotation.__name__.removesuffix("Section").lower()
        return f"[table](#{where})"
    return _NAMES[annotation]


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    """Rules, those within a FieldInfo among them."""
    return [rule for m in metadata for rule in (m.metadata if isinstance(m, FieldInfo) else [m])]


def _bounds(metadata: list[Any]) -> str:
    least = next((f"{_number(m.ge)}" for m in metadata if isinstance(m, Ge)), "")
    above = next((f"above {_number(m.gt)}" for m in metadata if isinstance(m, Gt)), "")
    most = next((f"{_number(m.le)}" for m in metadata if isinstance(m, Le)), "")
    below = next((f"below {_number(m.lt)}" for m in metadata if isinstance(m, Lt)), "")
    shortest = next((m.min_length for m in metadata if isinstance(m, MinLen)), None)
    longest = next((m.max_length for m in metadata if isinstance(m, MaxLen)), None)
    if least and most:
        return f"{least} to {most}"
    found = [f"{least} or more"] if least else [above] if above else []
    found += [f"at most {most}"] if most else [below] if below else []
    if shortest is not None:
        found.append(f"length {shortest} to {longest}" if longest is not None else f"length {shortest} or more")
    return ", ".join(found)


def _number(number: float) -> str:
    return f"{number:,.10g}"


def _default(info: FieldInfo) -> str:
    if info.is_required() or info.default is PydanticUndefined:
        return "required"
    return _value(info.default)


def _value(value: Any) -> str:
    if value is None or isinstance(value, sections.Section):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, ByteSize):
        return f'`"{_size(value)}"`'
    if isinstance(value, ModuleGeometry):
        return f'`"{value.name}"`'
    if isinstance(value, str | IPv4Address):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "`[]`"
    return f"`{value:_}`" if isinstance(value, int) and value > 9999 else f"`{value:g}`"


def _size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        bytes_of = 1 << {"GiB": 30, "MiB": 20, "KiB": 10}[unit]
        if size % bytes_of == 0:
            return f"{size // bytes_of} {unit}"
    return str(size)
