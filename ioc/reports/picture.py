"""An image as a picture for people."""

from pathlib import Path

import numpy as np

from detectors.buffer.atomic import write_atomically
from detectors.errors import HostError
from detectors.extras import image_codecs


def write_png(path: Path, data: np.ndarray) -> None:
    """Write an array as a grey image: the 1st to the 99.9th percentile, flattened to rows. Raises HostError."""
    rows = np.nan_to_num(data.reshape(-1, data.shape[-1]) if data.ndim != 1 else data[None, :]).astype(np.float64)
    low, high = np.percentile(rows, [1, 99.9])
    grey = np.clip((rows - low) / max(high - low, 1e-300) * 255, 0, 255).astype(np.uint8)
    try:
        write_atomically(path, bytes(image_codecs().png_encode(grey)))
    except OSError as error:
        raise HostError(f"{path}: cannot be written: {error.strerror}; choose another --output") from None
