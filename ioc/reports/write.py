"""What ``write`` has written."""

from typing import NamedTuple


class Written(NamedTuple):
    """An HDF5 file."""

    file: str
    images: int
    modules: int
    bytes: int
    """Of its pixels, uncompressed."""
    elapsed_s: float
    view: bool


def text(written: Written) -> str:
    """Return it as one line."""
    rate = "no pixel copied or checked" if written.view else f"{written.bytes / 1e6 / written.elapsed_s:.0f} MB/s"
    return (
        f"{written.file}: {written.images} images of {written.modules} modules, {written.bytes / 1e6:.1f} MB, "
        f"{written.elapsed_s:.2f} s, {rate}"
    )
