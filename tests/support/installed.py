"""Packages that are not to be had for every machine."""

from importlib.util import find_spec

import pytest


def needs(package: str) -> None:
    """Skip the test where ``package`` is not installed: on arm64, for which some have no wheel."""
    if find_spec(package) is None:
        pytest.skip(f"no {package} for this machine")
