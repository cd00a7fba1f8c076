"""Functions that are ready for use: mean, histogram and azimuthal average.

Each is an object; one with other settings is made in a file of one's own. Images that are not good, with modules or packets missing, do
not count, unless ``bad_images`` is set.
"""

from typing import Final

import numpy as np

from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.processing.function import Result


class Mean:
    """Sum and mean of all images, pixel by pixel."""

    def __init__(self, *, bad_images: bool = False) -> None:
        self._bad_images = bad_images

    def __call__(self, image: np.ndarray, head: ImageHead) -> Result:
        """Return the image and that it is one."""
        counts = head.is_good_frame or self._bad_images
        return {"sum": image if counts else np.zeros_like(image), "images": np.array(counts, np.int64)}

    def finish(self, total: Result) -> Result:
        """Return sum, mean (NaN without an image) and the number of images."""
        images = total["images"]
        return {**total, "mean": total["sum"] / images if images else np.full(total["sum"].shape, np.nan)}


class Histogram:
    """How many pixels have which value, in ``bins`` bins of the same width from ``low`` to below ``high``."""

    def __init__(self, low: float = 0, high: float = 65536, bins: int = 256, *, bad_images: bool = False) -> None:
        if not low < high or bins < 1:
            raise ConfigError(
                f"histogram: found {bins} bins from {low} to {high}, expected at least one, and low below high"
            )
        self._low, self._high, self._bins = low, high, bins
        self._bad_images = bad_images

    def __call__(self, image: np.ndarray, head: ImageHead) -> Result:
        """Return the counts of one image, and of what lies outside."""
        if not (head.is_good_frame or self._bad_images):
            return {"counts": np.zeros(self._bins, np.int64), "outside": np.zeros((), np.int64)}
        place = np.floor((image.reshape(-1) - self._low) * (self._bins / (self._high - self._low)))
        inside = place[(place >= 0) & (place < self._bins)].astype(np.int64)
        return {
            "counts": np.bincount(inside, minlength=self._bins),
            "outside": np.array(image.size - inside.size, np.int64),
        }

    def finish(self, total: Result) -> Result:
        """Return the counts with the edges of the bins, one more than there are bins."""
        return {**total, "edges": np.linspace(self._low, self._high, self._bins + 1)}


class AzimuthalAverage:
    """Mean pixel value by the distance to a centre, in rings that are ``width`` pixels wide.

    ``row`` and ``column`` are those of the centre, which need not be whole; left out: the middle of the image. ``mask`` is True where a
    pixel counts; left out: everywhere.
    """

    def __init__(
        self,
        row: float | None = None,
        column: float | None = None,
        width: float = 1.0,
        *,
        mask: np.ndarray | None = None,
        bad_images: bool = False,
    ) -> None:
        if not width > 0:
            raise ConfigError(f"azimuthal average: found width {width}, expected more than 0")
        self._row, self._column, self._width = row, column, width
        self._mask = mask
        self._bad_images = bad_images
        self._rings: np.ndarray | None = None

    def __call__(self, image: np.ndarray, head: ImageHead) -> Result:
        """Return the sums of the rings, and how many pixels they have."""
        if image.ndim != 2:
            raise ConfigError(f"azimuthal average: found an image of {list(image.shape)}, expected rows and columns")
        if self._rings is None or self._rings.shape != image.shape:
            self._rings = self._rings_of(*image.shape)
            self._pixels = self._sums(np.ones(image.shape, bool)).astype(np.int64)
        if not (head.is_good_frame or self._bad_images):
            return {"sums": np.zeros(len(self._pixels)), "pixels": np.zeros_like(self._pixels)}
        return {"sums": self._sums(image), "pixels": self._pixels}

    def finish(self, total: Result) -> Result:
        """Return the mean of each ring (NaN where it has no pixel) with its middle radius, pixels."""
        sums, pixels = total["sums"], total["pixels"]
        mean = np.divide(sums, pixels, out=np.full(sums.shape, np.nan), where=pixels > 0)
        return {**total, "mean": mean, "radius": (np.arange(len(sums)) + 0.5) * self._width}

    def _sums(self, image: np.ndarray) -> np.ndarray:
        assert self._rings is not None
        weights = image if self._mask is None else np.where(self._mask, image, 0)
        return np.bincount(self._rings.reshape(-1), weights.reshape(-1))

    def _rings_of(self, rows: int, columns: int) -> np.ndarray:
        if self._mask is not None and self._mask.shape != (rows, columns):
            raise ConfigError(
                f"azimuthal average: found a mask of {list(self._mask.shape)}, expected {[rows, columns]} as the image"
            )
        row = (rows - 1) / 2 if self._row is None else self._row
        column = (columns - 1) / 2 if self._column is None else self._column
        distance = np.hypot(np.arange(rows)[:, np.newaxis] - row, np.arange(columns) - column)
        return (distance / self._width).astype(np.intp)


mean: Final = Mean()
histogram: Final = Histogram()
azimuthal_average: Final = AzimuthalAverage()
