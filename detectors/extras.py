"""Packages that only an extra of pebbledaq installs. They are imported when they are first needed.

What each is for, and why it is not in every installation: docs/explanation/dependencies.md.
"""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from detectors.errors import HostError

PACKAGES: Final = {
    "codecs": ("hdf5plugin", "imagecodecs"),
    "dask": ("distributed", "cryptography"),
    "web": ("starlette", "uvicorn", "websockets", "prometheus_client", "imagecodecs"),
}
"""The packages of each extra, by the names that they are imported by."""


def missing(name: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [package for package in PACKAGES[name] if find_spec(package) is None]


@contextmanager
def extra(name: str, purpose: str) -> Generator[None]:
    """Import packages of the extra ``name`` inside. Raises HostError, which names the extra, when one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise HostError(
            f"{purpose}: found no package {error.name}, expected the extra {name}; pip install 'pebbledaq[{name}]'"
        ) from None


@functools.cache
def image_codecs() -> Any:
    """Return imagecodecs, whose annotations know bytes only while its functions take arrays too. Raises HostError."""
    with extra("codecs", "compression"):
        import imagecodecs
    return imagecodecs


@functools.cache
def hdf5_filters() -> Any:
    """Return hdf5plugin, which has then registered its filters with h5py. Raises HostError."""
    with extra("codecs", "compression"):
        import hdf5plugin
    return hdf5plugin
