import numpy as np
import pytest

from detectors.errors import ConfigError
from detectors.image_head import ImageHead
from detectors.processing.function import Processing, Result, load
from detectors.processing.ready import AzimuthalAverage, Histogram, Mean

GOOD, BAD = ImageHead(1, is_good_frame=True), ImageHead(2)
IMAGES = np.random.default_rng(5).integers(0, 1000, (3, 6, 8)).astype(np.uint16)


def total(function: object, images: np.ndarray = IMAGES, heads: tuple[ImageHead, ...] = (GOOD, GOOD, BAD)) -> Result:
    processing = Processing(function, "ready")
    first, *others = (processing(image, head) for image, head in zip(images, heads, strict=True))
    for other in others:
        first = processing.combine(first, other)
    return processing.finish(first)


def test_the_mean_of_good_images() -> None:
    found = total(Mean())
    assert np.array_equal(found["sum"], IMAGES[:2].astype(int).sum(0))
    assert np.array_equal(found["mean"], IMAGES[:2].mean(0))
    assert found["images"] == 2


def test_the_mean_of_all_images_and_of_none() -> None:
    assert np.array_equal(total(Mean(bad_images=True))["mean"], IMAGES.mean(0))
    assert np.isnan(total(Mean(), heads=(BAD, BAD, BAD))["mean"]).all()


def test_a_histogram_is_that_of_numpy() -> None:
    found = total(Histogram(100, 900, 40, bad_images=True))
    counts, edges = np.histogram(IMAGES, 40, (100, 899.999))
    assert np.array_equal(found["counts"], counts)
    assert np.allclose(found["edges"], edges, atol=0.01)
    assert found["outside"] == IMAGES.size - counts.sum()
    assert total(Histogram())["counts"].sum() == IMAGES[:2].size


def test_the_azimuthal_average_of_rings() -> None:
    rows, columns = np.mgrid[:41, :61]
    rings = np.hypot(rows - 12.0, columns - 30.5).astype(int)
    found = total(AzimuthalAverage(12, 30.5), np.stack([rings, rings, 1000 + rings]))
    assert np.array_equal(found["mean"], np.arange(rings.max() + 1))
    assert np.array_equal(found["radius"], np.arange(rings.max() + 1) + 0.5)
    assert np.array_equal(found["pixels"], 2 * np.bincount(rings.reshape(-1)))


def test_masked_pixels_do_not_count() -> None:
    image = np.ones((5, 5))
    image[2, 2] = np.nan
    found = total(AzimuthalAverage(width=1.5, mask=~np.isnan(image)), np.stack([image] * 3))
    assert found["mean"].tolist() == [1.0, 1.0]
    assert found["pixels"].tolist() == [16, 32]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 256 bins from 5 to 5"):
        Histogram(5, 5)
    with pytest.raises(ConfigError, match="found width 0"):
        AzimuthalAverage(width=0)
    with pytest.raises(ConfigError, match=r"found a mask of \[2, 2\], expected \[6, 8\] as the image"):
        total(AzimuthalAverage(mask=np.ones((2, 2), bool)))
    with pytest.raises(ConfigError, match=r"found an image of \[3\], expected rows and columns"):
        total(AzimuthalAverage(), np.ones((3, 3)))


@pytest.mark.parametrize("name", ["mean", "histogram", "azimuthal_average"])
def test_they_are_there_by_name(name: str) -> None:
    assert load(f"detectors.processing.ready:{name}")(IMAGES[0], GOOD)
