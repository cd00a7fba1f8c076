"""A user's function on images: loaded by name, called with one image at a time, its results combined.

The function is ``name(image, head)`` and returns a number, an array, or a dict of them by name. docs/how-to/cluster.md shows some.
"""

import hashlib
import importlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias, cast

import numpy as np

from detectors.errors import ConfigError, ProcessingError
from detectors.image_head import ImageHead

Result: TypeAlias = dict[str, np.ndarray]
"""What a function made of one image, or of several, by name."""

BARE: Final = "value"
"""Name of a result that is not a dict."""

_SUFFIX: Final = ".py"
_NUMBERS: Final = "biufc"
"""Kinds of numpy types that a result may have."""
_WIDE: Final = {"b": np.int64, "i": np.int64, "u": np.uint64, "f": np.float64, "c": np.complex128}
"""Types in which results are added, so that a sum of small integers does not overflow."""


class Processing:
    """A function with what belongs to it: ``combine(a, b)`` and ``finish(total)``, where it has them.

    Both get what the function returns: a dict, or the array where it is one value. Without ``combine`` results are added, as
    64-bit numbers. Raises ConfigError for what cannot be called with an image and its head.
    """

    def __init__(self, function: Any, spec: str, source: Path | None = None) -> None:
        self.spec = spec
        """As in the command; with the absolute path where it names a file."""
        self.source = source
        """File that the function comes from; None when that is not known."""
        for name, call, arguments in (
            ("", function, ("image", "head")),
            ("combine: ", getattr(function, "combine", None), ("a", "b")),
            ("finish: ", getattr(function, "finish", None), ("total",)),
        ):
            if call is not None or not name:
                _check_call(f"{spec}: {name}", call, arguments)
        self._function: Callable[..., Any] = function
        self._combine: Callable[..., Any] | None = getattr(function, "combine", None)
        self._finish: Callable[..., Any] | None = getattr(function, "finish", None)

    @property
    def digest(self) -> str:
        """SHA-256 of the source; empty when that is not known."""
        return hashlib.sha256(self.source.read_bytes()).hexdigest() if self.source else ""

    def __call__(self, image: np.ndarray, head: ImageHead) -> Result:
        """Return the result of one image. The function sees it read-only; nothing of the result lies in its memory.

        Raises ProcessingError, with the pulse, when the function fails or returns something else.
        """
        seen = image.view()
        seen.flags.writeable = False
        where = f"pulse {head.pulse_id}"
        result = self._result(self._call(where, self._function, seen, head), where)
        if self._combine is None:
            return {name: found.astype(_WIDE[found.dtype.kind]) for name, found in result.items()}
        return {name: found.copy() if np.may_share_memory(found, image) else found for name, found in result.items()}

    def combine(self, a: Result, b: Result) -> Result:
        """Return the result of the images of both. Raises ProcessingError when they do not fit."""
        if self._combine is not None:
            return self._result(self._call("combine", self._combine, _given(a), _given(b)), "combine")
        found, expected = ({name: list(array.shape) for name, array in one.items()} for one in (b, a))
        if found != expected:
            raise ProcessingError(
                f"{self.spec}: the results of two images differ: found the shapes {found}, expected {expected}"
            )
        return {name: array + b[name] for name, array in a.items()}

    def finish(self, total: Result) -> Result:
        """Return what is made of the combined result at the end. Raises ProcessingError as above."""
        if self._finish is None:
            return total
        return self._result(self._call("finish", self._finish, _given(total)), "finish")

    def _call(self, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise ProcessingError(f"{self.spec}: {where}: {_reason(error, self.source)}") from error

    def _result(self, returned: Any, where: str) -> Result:
        named = cast("Mapping[Any, Any]", returned) if isinstance(returned, Mapping) else {BARE: returned}
        result: Result = {}
        for name, value in named.items():
            if not isinstance(name, str) or not name or "/" in name or name == ".":
                raise ProcessingError(f"{self.spec}: {where}: found the name {name!r}, expected a text without /")
            try:
                array = np.asarray(value)
            except ValueError:
                array = np.asarray(None)
            if array.dtype.kind not in _NUMBERS:
                raise ProcessingError(
                    f"{self.spec}: {where}: found {type(value).__name__} as {name!r}, expected a number, an array of numbers, "
                    "or a dict of them by name"
                )
            result[name] = array
        if not result:
            raise ProcessingError(f"{self.spec}: {where}: found an empty dict, expected one with a result")
        return result


def load(spec: str) -> Processing:
    """Return the function that ``module:name`` or ``file.py:name`` names. Raises ConfigError when there is none."""
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise ConfigError(f"{spec}: found no function, expected module:name or file{_SUFFIX}:name")
    if where.endswith(_SUFFIX):
        path = Path(where).absolute()
        spec = f"{path}:{name}"
        module = _run_file(path)
    else:
        module = _import(where)
    function = getattr(module, name, None)
    if function is None:
        raise ConfigError(f"{spec}: found no {name} in {where}")
    found = module.__spec__
    source = Path(found.origin) if found and found.has_location and found.origin else None
    return Processing(function, spec, source)


def _run_file(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except OSError as error:
        # The file itself, or one that it reads.
        raise ConfigError(f"{path}: cannot be loaded: {error.strerror}: {error.filename}") from None
    except Exception as error:
        raise ConfigError(f"{path}: cannot be loaded: {_reason(error, path)}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{name}: found no module of that name; a file is given as file{_SUFFIX}:name") from None
        raise ConfigError(f"{name}: cannot be loaded: {_reason(error, None)}") from error
    except Exception as error:
        raise ConfigError(f"{name}: cannot be loaded: {_reason(error, None)}") from error


def _reason(error: Exception, source: Path | None) -> str:
    """Return an error as one line, with the line of the source at which it arose."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(source)]
    return f"{text} ({source}, line {lines[-1]})" if lines else text


def _check_call(what: str, call: Any, arguments: tuple[str, ...]) -> None:
    expected = f"expected a function of ({', '.join(arguments)})"
    if not callable(call) or isinstance(call, type):
        kind = "a class" if isinstance(call, type) else type(call).__name__
        raise ConfigError(f"{what}found {kind}, {expected}")
    try:
        signature = inspect.signature(call)
    except ValueError:
        return  # one that is written in C and does not tell
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ConfigError(f"{what}found a function of {signature}, {expected}") from None


def _given(result: Result) -> Result | np.ndarray:
    """Return a result as the user's function gave it."""
    return result[BARE] if set(result) == {BARE} else result
