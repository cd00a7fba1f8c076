"""The page of the public API: signatures and docstrings of what ``detectors.api`` exports."""

import dataclasses
import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

from attribute_docs import attribute_docs
from pydantic import BaseModel

from detectors import api

_HEAD: Final = """\
# Public API

Written by `python docs/tools/make_reference.py` from the docstrings of what `detectors.api` exports: change those, not this page. How it is used
is shown in [Use the data in Python](../how-to/python.md).

Only what is on this page may be relied upon: the rest of the package may change from version to version. Changes of this are in the
changelog.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for name in sorted(api.__all__, key=str.lower):
        thing = getattr(api, name)
        parts += _class(name, thing) if inspect.isclass(thing) else _function(name, thing, 2)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _class(name: str, kind: type) -> Iterator[str]:
    yield f"## {name}"
    plain = issubclass(kind, Exception | enum.Enum | BaseModel) or kind.__init__ is object.__init__
    yield _block(name if plain else name + _signature(kind))
    yield _docs(kind)
    if issubclass(kind, BaseModel):
        yield "Its attributes are the sections of the [configuration](configuration.md)."
    docs = attribute_docs(kind)
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else list(docs)
    if rows := [f"| `{field}` | {docs.get(field, '')} |" for field in names if not field.startswith("_")]:
        yield "\n".join(["| field | what |", "|---|---|", *rows])
    if issubclass(kind, enum.Enum):
        yield "\n".join(["| name | value |", "|---|---|", *(f"| `{m.name}` | {m.value} |" for m in kind)])
    variables = _variables(kind)
    for member, value in _members(kind):
        if isinstance(value, property):
            yield f"**`{member}`** (property): {_docs(value)}"
        else:
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            yield from _function(member, function, 3, f"{name}.", variables)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, those of our own base classes among them, in the order of the source."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("detectors"):
            continue
        for name, value in vars(base).items():
            known = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
            if known and not name.startswith("_") and name not in seen and inspect.getdoc(value):
                seen.add(name)
                yield name, value


def _variables(kind: type) -> dict[str, str]:
    """Return what the type variables of its base classes stand for."""
    found: dict[str, str] = {}
    for base in getattr(kind, "__orig_bases__", ()):
        names = getattr(get_origin(base), "__parameters__", ())
        found |= {
            str(name): getattr(value, "__name__", str(value))
            for name, value in zip(names, get_args(base), strict=False)
        }
    return found


def _function(
    name: str, function: Any, level: int, before: str = "", variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    yield f"{'#' * level} {before}{name}"
    yield _block(name + _signature(function, variables))
    yield _docs(function)


def _signature(thing: Any, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    signature = inspect.signature(thing)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    text = str(signature.replace(parameters=parameters))
    if inspect.isclass(thing):
        text = text.removesuffix(" -> None")
    text = re.sub(r"<factory>", "...", re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text))
    for variable, meaning in variables.items():
        text = re.sub(rf"{variable}\b", meaning, text)
    text = re.sub(r"Optional\[([^]]*)\]", r"\1 | None", text).replace("~", "")
    return re.sub(r"'([A-Z]\w*(?:\[\w+\])?)'", r"\1", text)


def _block(code: str) -> str:
    return f"```text\n{code}\n```"


def _docs(thing: Any) -> str:
    return inspect.getdoc(thing) or ""
