"""What unit tests of several folders share."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Refuse this process everything at or below a path, as the kernel refuses who is not root."""

    def refuse(denied: Path) -> None:
        def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: Any = ".", *args: Any, **more: Any) -> Any:
                if not isinstance(path, int) and Path(os.fsdecode(path)).absolute().is_relative_to(denied):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
                return original(path, *args, **more)

            return call

        for module, name in ((io, "open"), (os, "open"), (os, "mkdir"), (os, "scandir"), (os, "listdir")):
            monkeypatch.setattr(module, name, guarded(getattr(module, name)))
        monkeypatch.setattr("builtins.open", io.open)

    return refuse
