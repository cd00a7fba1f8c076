"""The writer of live images to HDF5: captures begin and end by command, gathering and writing are threads of their own."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

from detectors.assembly.sync import Matched
from detectors.config import Config, Hdf5Section, SourceSection, UdpSection
from detectors.errors import ConfigError
from detectors.frame import MISSING_MASK_BYTES
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.capture import Selector
from detectors.pools.buffer_pool import BufferPool
from detectors.sources.compressed_images import CompressedSource
from detectors.stats import CaptureStatus, PoolStats
from detectors.wire.bslz4 import chunk_bound
from detectors.wire.compressed_image import COMPRESSION
from detectors.worker_names import HDF5, STREAM, image_worker_name
from detectors.workers.account import Account
from detectors.workers.captures import Captures
from detectors.workers.compressed_elsewhere import CompressedElsewhere
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gate import AcquisitionGate
from detectors.workers.gather import Assembler, Gatherer
from detectors.workers.runtime import run_worker
from detectors.workers.wake import Wake

_BUFFER_BYTES: Final = 256 << 20
"""Memory for images on their way to the disk: a quarter of a second at 1 GB/s."""

_SHARE_WAITING: Final = 2
"""Part of the memory of a module that images may fill while they wait for their compression: 1/n."""

_LEAST_BUFFERS: Final = 4
_MOST_BUFFERS: Final = 1024


def run(config: Config, detector: str = "") -> int:
    """Write captures of a detector's images until it is to stop. Returns the exit code.

    Raises ConfigError without an [hdf5] section, HostError when the memory or the folder is refused.
    """
    return run_worker(CapturePart(config, detector), config)


class CapturePart:
    """The part of a worker that writes live images to HDF5: gathers them while a capture wants them.

    Files are made and looked at by a thread of their own, and written by each capture's: the data thread touches none.
    """

    blocks: Mapping[str, Sequence[str]] = {}
    empty = CaptureStatus()

    def __init__(self, config: Config, detector: str) -> None:
        sources = config.sources_of(detector)
        self.name = image_worker_name(HDF5, detector)
        if config.hdf5 is None:
            raise ConfigError("hdf5: missing; give an [hdf5] section with a folder")
        self._section: Hdf5Section = config.hdf5
        self._pulse_id_step = config.detector.pulse_id_step
        # Without a mosaic: the documented files hold the modules one below the other.
        modules = DetectorModules(config, sources, config.image_rules(sources), config.hdf5.host)
        self._modules, self._gatherer = modules, Gatherer(modules)
        self._pool: BufferPool | None = None
        self._pool_of: Assembler | None = None
        self._gate = AcquisitionGate(
            config.hdf5.on_loss,
            self._pulse_id_step,
            self._gatherer.expect_all,
            clocked=isinstance(sources[0], UdpSection) and modules.all_local,
        )
        self._nothing = _nothing(sources)
        self._captures = Captures(config.hdf5, modules.detector, modules.names, self._pulse_id_step, self._expect)
        self._elsewhere: CompressedElsewhere | None = None
        if config.is_compressed(sources, config.hdf5.host) and config.mosaic_of(sources) is None:
            names = config.runtime_names
            source = CompressedSource(names.notify(STREAM), names.shm(STREAM))
            self._elsewhere = CompressedElsewhere(source, modules.rules.depth // _SHARE_WAITING)
        self._compressed_here = 0
        self._gathered = 0
        self._latest = ImageHead(0)

    @property
    def commands(self) -> Mapping[str, Callable[..., Any]]:
        """Begin and end of captures, and the folder of their files."""
        found = {**self._captures.commands, **self._gate.commands}
        elsewhere = self._elsewhere
        return {name: elsewhere.in_turn(command) for name, command in found.items()} if elsewhere else found

    def open(self, stack: ExitStack, wake: Wake, account: Account) -> str:  # noqa: ARG002
        """Find the modules, and take the memory for images as soon as their size is known.

        Raises HostError, also when the configuration's folder is not there and cannot be made.
        """
        self._wake = wake
        self._captures.open(stack, wake)
        stack.callback(self._gatherer.close)
        if self._elsewhere:
            stack.callback(self._elsewhere.close)
        self._gatherer.open(wake)
        self._follow_size()
        return ""

    def step(self) -> float:
        """Take in what the modules have sent, and hand what is wanted to the capture."""
        captures, elsewhere = self._captures, self._elsewhere
        captures.poll()
        matched = self._gatherer.step()
        if elsewhere:
            elsewhere.ask(self._wake, on=captures.selector is not None and captures.compression == COMPRESSION)
            matched = elsewhere.ready(matched)
        for one in matched:
            self._image(one)
        captures.follow(self._modules.layout)
        if elsewhere and elsewhere.waits:
            return min(self._gatherer.wait_s, elsewhere.wait_s)
        for pulse_id in self._gate.acquisition.expire(time.monotonic()):
            self._fill(pulse_id)
        return self._gatherer.wait_s

    def snapshot(self) -> CaptureStatus:
        """Return what there is to know."""
        gatherer, captures = self._gatherer, self._captures
        capture, place = captures.capture, captures.folder.place
        state, message = captures.state()
        complaint = captures.refusal or (message if state == "Failed" else "")
        return CaptureStatus(
            state=state,
            message=message,
            capturing=captures.capturing,
            file_open=captures.file_open,
            file=captures.path,
            captured=capture.written + capture.filled if capture else 0,
            wanted=captures.wanted,
            filled=capture.filled if capture else 0,
            damaged=capture.damaged if capture else 0,
            balance=capture.balance if capture else "",
            attributes_missing=captures.values.missing,
            compressed_elsewhere=self._elsewhere.taken if self._elsewhere else 0,
            compressed_here=self._compressed_here,
            acquisition=self._gate.stats(),
            captures=captures.totals.captures,
            folder_exists=place.exists,
            write_error=bool(complaint),
            write_message=complaint,
            pulse_id=self._latest.pulse_id,
            unique_id=self._latest.unique_id,
            data_ns=self._latest.timestamp_ns,
            shape=" x ".join(map(str, gatherer.assembler.shape)) if gatherer.assembler else "",
            dtype=gatherer.assembler.pixel_type.name if gatherer.assembler else "",
            sync=gatherer.sync_stats(),
            images=gatherer.image_stats(self._gathered),
            output=captures.totals.stats(
                capture, gatherer.assembled, place, (state, message), on=captures.selector is not None
            ),
            pool=self._pool.stats() if self._pool else PoolStats(),
        )

    def finish(self, deadline_s: float) -> None:
        """Write what has been taken, and close the file."""
        if self._captures.selector:
            self._captures.end()
        if self._captures.capture:
            self._captures.capture.finish(deadline_s)

    def _expect(self, pulse_id: int) -> None:
        """Begin with an image, when no acquisition says otherwise; 0: with the next."""
        if pulse_id and not self._gate.number:
            self._gate.acquisition.expect(pulse_id)

    def _image(self, matched: Matched) -> None:
        captures, acquisition, pulse_id = self._captures, self._gate.acquisition, matched.pulse_id
        if captures.selector and self._pool_of is not self._gatherer.assembler and self._pool_of is not None:
            captures.end("the camera came back with another shape or type; the file was closed")
        self._follow_size()
        captures.follow(self._modules.layout)
        lost = acquisition.lost
        for missing in acquisition.missing(pulse_id):
            self._fill(missing)
        if not acquisition.wants(pulse_id):
            captures.totals.unwanted += self._gatherer.assemble(matched, None) is not None
        elif captures.selector and captures.selector.take(pulse_id):
            self._take(matched, captures.selector)
        else:
            header = self._gatherer.assemble(matched, None)
            self._gate.settle(pulse_id, header and header.head, time.monotonic())
            captures.totals.unwanted += header is not None
        if captures.capture and captures.selector:
            captures.capture.lost += acquisition.lost - lost
        if captures.selector and captures.selector.past(pulse_id):
            captures.end()

    def _take(self, matched: Matched, selector: Selector) -> None:
        """Put an image together that belongs to the capture, and offer it."""
        captures, assembler = self._captures, self._gatherer.assembler
        assert self._pool
        assert assembler
        assert captures.capture
        buffer = self._pool.try_acquire()
        chunk_bytes = self._elsewhere.take(matched, assembler, buffer.array) if buffer and self._elsewhere else 0
        out = buffer.array[: assembler.image_bytes] if buffer and not chunk_bytes else None
        header = self._gatherer.assemble(matched, out)
        head = header.head if header and buffer else None
        taken = self._gate.settle(matched.pulse_id, head, time.monotonic())
        if buffer and header and taken:
            self._gathered += 1
            buffer.set_len(chunk_bytes or header.data_bytes)
            self._compressed_here += captures.compression != "none" and not chunk_bytes
            captures.capture.offer(header.head, buffer.freeze(), captures.values.now(), compressed=chunk_bytes > 0)
            self._latest = header.head
            return
        if buffer:
            buffer.release()
        selector.give_back()
        if header and buffer:  # of an earlier run
            captures.totals.unwanted += 1
            return
        captures.totals.dropped += header is not None
        if taken:
            self._fill(matched.pulse_id)

    def _fill(self, pulse_id: int) -> None:
        """Give a missing image its place in the file."""
        captures = self._captures
        if captures.capture and captures.selector and captures.selector.take(pulse_id):
            captures.capture.fill(self._nothing._replace(pulse_id=pulse_id), captures.values.now())

    def _follow_size(self) -> None:
        """Take memory for images of the present size."""
        assembler = self._gatherer.assembler
        if assembler is self._pool_of or assembler is None:
            return
        count = min(max(_BUFFER_BYTES // assembler.image_bytes, _LEAST_BUFFERS), _MOST_BUFFERS)
        size_bytes, itemsize = assembler.image_bytes, assembler.pixel_type.itemsize
        if self._elsewhere:
            size_bytes = max(size_bytes, chunk_bound(size_bytes // itemsize, itemsize))
        self._pool = BufferPool(count, size_bytes, name="capture")
        self._pool_of = assembler


def _nothing(sources: Sequence[SourceSection]) -> ImageHead:
    """Return the head of an image of which nothing came."""
    packets = sources[0].geometry.packets_per_frame if isinstance(sources[0], UdpSection) else 1
    mask = ((1 << packets) - 1).to_bytes(MISSING_MASK_BYTES, "little")
    return ImageHead(0, packets_missing=packets * len(sources), missing=(mask,) * len(sources))
