"""What ``cam1:`` shows, by areaDetector's names: settings, the acquisition, the images, and the buffers they lie in."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from detectors.errors import CommandError
from detectors.thinning import DATA_TYPES, described
from ioc.bindings import Handler

SINGLE, MULTIPLE, CONTINUOUS = "Single", "Multiple", "Continuous"

_CHOICES: Final = {"image_mode": (SINGLE, MULTIPLE, CONTINUOUS), "on_loss": ("Fill", "Fail", "Skip")}
"""Choices of the settings' records, in order."""

_COLOR_MODES: Final = ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV421")

_GIVEN: Final = {"data_type": tuple(DATA_TYPES.values()), "color_mode": _COLOR_MODES}
"""Choices of the records of what the detector decides, in order."""

_POOLS: Final = ("pebble", "transition", "pool")
_POOLS_S: Final = 0.5
"""The buffers of all workers are added up this often, s."""
_MIB: Final = 1 << 20
_RATE_S: Final = 1.0
"""Images are counted for so long before their rate is shown, s."""

_LEAST_TIMEOUT_S: Final = 5.0
_PERIODS: Final = 10


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """The settings of the next acquisition."""

    image_mode: str = CONTINUOUS
    num_images: int = 1
    on_loss: str = "Fill"
    acquire_time: float = 0.0
    """Exposure, s: kept in the files; no detector is set to it."""
    acquire_period: float = 0.0
    """Time between two images, s; 0: not known."""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What the records show beside the settings."""

    detector_state: str = "Idle"
    detector_message: str = ""
    """Why the last acquisition failed."""
    acquiring: bool = False
    taken: int = 0
    """Images of the present acquisition, or of the last one."""
    damaged: int = 0
    filled: int = 0
    lost: int = 0
    array_counter: int = 0
    array_rate: float = 0.0
    unique_id: int = 0
    data_ns: int = 0
    """POSIX time of the last image, ns; 0 when it is not known."""
    data_s: float = 0.0
    """The same in s."""
    dimensions: int = 0
    size_x: int = 0
    size_y: int = 0
    size_z: int = 0
    size_0: int = 0
    """Fastest dimension."""
    size_1: int = 0
    size_2: int = 0
    array_bytes: int = 0
    data_type: str = "UInt16"
    color_mode: str = "Mono"
    pool_max_mem: float = 0.0
    """MiB, as all of areaDetector's pool figures."""
    pool_used_mem: float = 0.0
    pool_alloc_buffers: int = 0
    pool_free_buffers: int = 0
    pool_used_buffers: int = 0
    queued_arrays: int = 0


class ImageCount:
    """Counts images over all acquisitions, and how many come in a second.

    A worker counts the images of each acquisition from 0, and those that it puts together on and on.
    """

    def __init__(self) -> None:
        self.total = 0
        self.rate = 0.0
        self._number = self._taken = self._assembled = 0
        self._known = False
        self._since = (0, 0.0)

    def seen(self, values: Mapping[str, Any], now_s: float, *, in_run: bool) -> None:
        """Take what the worker that counts shows; ``in_run``: its images count although no acquisition was begun."""
        number, taken = values.get("acquisition.number", 0), values.get("acquisition.taken", 0)
        assembled = values.get("images.assembled", 0)
        if number != self._number or taken < self._taken:
            self._number, self._taken = number, 0
        gain = taken - self._taken
        if in_run and not values.get("acquisition.open") and self._known:
            gain += max(0, assembled - self._assembled)
        self.total += gain
        self._taken, self._assembled, self._known = taken, assembled, True
        count, then_s = self._since
        if now_s - then_s >= _RATE_S:
            self.rate = max(0.0, (self.total - count) / (now_s - then_s))
            self._since = self.total, now_s

    def set(self, total: int) -> None:
        """Go on counting from ``total``."""
        self.total = total
        self._since = (total, self._since[1])


class Camera:
    """The settings of acquisitions to come, and what is shown of the present one."""

    def __init__(self, on_loss: str = "fill") -> None:
        self.settings = CameraSettings(on_loss=on_loss.title())
        self.status = CameraStatus()
        self._count = ImageCount()
        self._count_set = 0
        self._pools: dict[str, Any] = {}
        self._pools_due_s = 0.0

    @property
    def images(self) -> int:
        """Images of the next acquisition; 0: no end. Raises CommandError in Multiple without a number."""
        now = self.settings
        if now.image_mode == MULTIPLE and not now.num_images:
            raise CommandError("found NumImages 0 with ImageMode Multiple; set NumImages, or ImageMode Continuous")
        return {SINGLE: 1, MULTIPLE: now.num_images}.get(now.image_mode, 0)

    @property
    def rules(self) -> tuple[str, float]:
        """``on_loss`` and ``timeout_s`` of the next acquisition: without an image for so long, the rest is missing."""
        period_s = self.settings.acquire_period
        return self.settings.on_loss.lower(), max(_LEAST_TIMEOUT_S, _PERIODS * period_s) if period_s else 0.0

    def metadata(self) -> dict[str, float]:
        """Return what files keep of the settings, by NeXus's names."""
        return {"count_time": self.settings.acquire_time}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers of the settings by the name that bindings use; the word is a field of CameraSettings."""
        return {
            "camera_setting": Handler(self._set, self._shown),
            "camera_given": Handler(self._keep, self._shown_given),
            "camera_counter": Handler(self._set_count, lambda: self._count_set),
        }

    def adopt(self, images: int) -> None:
        """Take over an acquisition that was begun before this IOC."""
        mode = CONTINUOUS if not images else SINGLE if images == 1 else MULTIPLE
        self.settings = replace(self.settings, image_mode=mode, num_images=images or self.settings.num_images)

    def seen(self, workers: Mapping[str, Mapping[str, Any]], counter: str, now_s: float, *, in_run: bool) -> None:
        """Note what the records of all workers show; ``counter`` is the one that counts, ``in_run`` as for ImageCount."""
        values = workers.get(counter, {})
        self._count.seen(values, now_s, in_run=in_run)
        if now_s >= self._pools_due_s:
            self._pools, self._pools_due_s = pool_figures(workers.values()), now_s + _POOLS_S
        numbers = {name: values.get(f"acquisition.{name}", 0) for name in ("taken", "damaged", "filled", "lost")}
        figures = image_figures(values) | self._pools
        rate = round(self._count.rate, 3)
        self.status = replace(self.status, array_counter=self._count.total, array_rate=rate, **numbers, **figures)

    def show(self, state: str, message: str, *, acquiring: bool) -> None:
        """Note the state of the detector."""
        self.status = replace(self.status, detector_state=state, detector_message=message, acquiring=acquiring)

    async def _set(self, value: Any, name: str) -> None:
        match name:
            case "num_images":
                value = int(value)
            case "acquire_time" | "acquire_period":
                value = float(value)
            case _:
                value = _CHOICES[name][int(value)]
        self.settings = replace(self.settings, **{name: value})

    def _shown(self, name: str) -> Any:
        value = getattr(self.settings, name)
        return _CHOICES[name].index(value) if name in _CHOICES else value

    async def _keep(self, value: Any, name: str) -> None:
        found, expected = int(value), self._shown_given(name)
        if found != expected:
            names = _GIVEN.get(name)
            found, expected = (names[found], names[expected]) if names else (found, expected)
            raise CommandError(f"found {found}, expected {expected}: the detector decides it")

    def _shown_given(self, name: str) -> int:
        value = getattr(self.status, name)
        return _GIVEN[name].index(value) if name in _GIVEN else value

    async def _set_count(self, value: Any) -> None:
        self._count_set = int(value)
        self._count.set(self._count_set)


def image_figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return size and kind of the images of a worker, as fields of CameraStatus, from what it shows."""
    data_ns = int(values.get("data_ns", 0))
    found = {"unique_id": values.get("unique_id", 0), "data_ns": data_ns, "data_s": data_ns / 1e9}
    shape = tuple(int(text) for text in str(values.get("shape", "")).split(" x ") if text)
    name = str(values.get("dtype", ""))
    if not shape or name not in DATA_TYPES:
        return found
    figures = described(shape, np.dtype(name))
    figures["data_type"] = figures.pop("dtype")
    return found | figures | {"array_bytes": math.prod(shape) * np.dtype(name).itemsize}


def pool_figures(workers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the buffers and queues of all workers together, as fields of CameraStatus, from what they show."""
    count = in_use = size_bytes = used_bytes = queued = 0
    for values in workers:
        queued += sum(value for name, value in values.items() if name.endswith(".queued") and name != "sync.queued")
        for pool in _POOLS:
            if values.get(f"{pool}.total_bytes"):
                count += values[f"{pool}.count"]
                in_use += values[f"{pool}.in_use"]
                size_bytes += values[f"{pool}.total_bytes"]
                used_bytes += values[f"{pool}.in_use"] * values[f"{pool}.size_bytes"]
    return {
        "pool_max_mem": round(size_bytes / _MIB, 3),
        "pool_used_mem": round(used_bytes / _MIB, 3),
        "pool_alloc_buffers": count,
        "pool_free_buffers": count - in_use,
        "pool_used_buffers": in_use,
        "queued_arrays": queued,
    }
