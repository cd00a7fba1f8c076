"""What a worker and the processes of a user's function send each other, beside the names of requests. Pure."""

from pathlib import Path
from typing import NamedTuple

from detectors.image_head import ImageHead
from detectors.processing.function import Result


class StoredImage(NamedTuple):
    """Where an image lies in shared memory, and what it is."""

    path: Path
    generation: int
    """Another one whenever the memory behind ``path`` is another."""
    offset: int
    shape: tuple[int, ...]
    dtype: str
    head: ImageHead


class Results(NamedTuple):
    """What the images made so far."""

    total: Result
    """Of all images since the start, or the last reset; finished, where the function says how."""
    last: Result
    """Of the last image alone."""
    images: int
    """How many images are in the total."""
    head: ImageHead
    """Of the last image."""
