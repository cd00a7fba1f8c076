"""areaDetector's face of one detector: ``cam1:``, ``HDF1:``, ``Pva1:``, ``image1:``, and the files of what is on disk."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import zmq.asyncio

from detectors.config import Config
from detectors.outputs.data_sets import mapped_detector
from detectors.stats import flat
from ioc.acquisition import AcquisitionControl
from ioc.bindings import Handler, field_types
from ioc.camera import Camera, CameraSettings, CameraStatus
from ioc.capture import CaptureControl, CaptureSettings
from ioc.live_image import LiveImage, LiveImageStatus
from ioc.retro import Retro, RetroStatus
from ioc.roster import Roster
from ioc.run_control import Ask, RunControl
from ioc.templates import Detector

if TYPE_CHECKING:
    from ioc.records import Records  # imports EPICS

_CAMERA, _CAPTURE, _IMAGE, _RETRO = "cam1", "capture", "image1", "retro"
"""Owners of the values that its records show; with the detector's name where there are several."""


def face_types(detector: Detector) -> dict[str, dict[str, type]]:
    """Return the fields that the records of a detector can show, by owner."""
    types = {
        _CAMERA: field_types(CameraSettings()) | field_types(CameraStatus()),
        _CAPTURE: field_types(CaptureSettings()),
        _IMAGE: field_types(LiveImageStatus()),
        _RETRO: field_types(RetroStatus()),
    }
    return {owner + detector.suffix: fields for owner, fields in types.items()}


class Face:
    """The parts of one detector that its records show and drive."""

    def __init__(
        self,
        config: Config,
        detector: Detector,
        run: RunControl,
        ask: Ask,
        *,
        roster: Roster,
        context: zmq.asyncio.Context,
        folders: Mapping[str, str],
    ) -> None:
        """``folders`` are the root folders that the workers write below, now."""
        self.detector = detector
        self.run = run
        self._camera = Camera(config.hdf5.on_loss if config.hdf5 else "fill")
        self.acquisition = AcquisitionControl(run, ask, roster, self._camera, detector)
        self.capture = self.retro = self._live_image = None
        if config.hdf5 and detector.hdf5:
            self.capture = CaptureControl(config.hdf5, ask, roster, detector, self._camera.metadata)
            if detector.retro:
                self.retro = Retro(
                    config.hdf5,
                    lambda: mapped_detector(config, detector.sources, folders),
                    config.runtime_names.folder / f"{config.detector_of(detector.sources[0])}.map.json",
                )
        self._shown: dict[tuple[str, str], Any] = {}
        if config.images:
            self._live_image = LiveImage(context, config.runtime_names.frames(detector.images), config.images)

    @property
    def in_progress(self) -> tuple[bool, bool]:
        """Whether an acquisition and a capture are in progress."""
        return self.acquisition.acquiring, bool(self.capture and self.capture.capturing)

    def follow(self, show: Callable[[], None]) -> None:
        """Call ``show`` whenever the records are to be brought up to date at once."""
        self.acquisition.show = show
        if self.retro:
            self.retro.show = show

    def handlers(self) -> dict[str, Handler]:
        """Return every handler by the name that bindings use."""
        found = self.acquisition.handlers() | self._camera.handlers()
        for part in (self.capture, self.retro, self._live_image):
            found |= part.handlers() if part else {}
        return {name + self.detector.suffix: handler for name, handler in found.items()}

    def adopt(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with what the workers that ran before this IOC do, by their statuses. The run has been adopted."""
        if self.capture and self.detector.hdf5 in statuses:
            self.capture.adopt(statuses[self.detector.hdf5])
        self.acquisition.adopt(statuses)

    def show(self, records: "Records", workers: Mapping[str, Mapping[str, Any]], now_s: float) -> None:
        """Note what the records of all workers show now, and show what follows from it."""
        if self.capture:
            self.capture.seen(workers[self.detector.hdf5])
            self._show(records, _CAPTURE, self.capture.settings)
        if self._live_image and (image := self._live_image.take()):
            # What is known of it first: viewers read its sizes when the array changes.
            self._show(records, _IMAGE, self._live_image.status)
            records.show_array(_IMAGE + self.detector.suffix, image.pixels, image.time_ns)
        if self.retro:
            self._show(records, _RETRO, self.retro.status)
        self.acquisition.seen({name: workers[name] for name in self.detector.workers}, now_s)
        self._show(records, _CAMERA, self._camera.settings)
        self._show(records, _CAMERA, self._camera.status)

    def show_settings(self, records: "Records") -> None:
        """Show what has been set."""
        self._show(records, _CAMERA, self._camera.settings)
        if self.capture:
            self._show(records, _CAPTURE, self.capture.settings)
        if self._live_image:
            self._show(records, _IMAGE, self._live_image.status)

    async def close(self) -> None:
        """Leave acquisitions as they are, and end the rest."""
        await self.acquisition.close()
        if self.retro:
            self.retro.close()
        if self._live_image:
            self._live_image.close()

    def _show(self, records: "Records", owner: str, values: Any) -> None:
        """Publish what changed of an owner; nothing is compared field by field while the whole is as it was."""
        key: tuple[str, str] = owner, values.__class__.__name__
        if self._shown.get(key) != values:
            self._shown[key] = values
            records.show(owner + self.detector.suffix, flat(values))
