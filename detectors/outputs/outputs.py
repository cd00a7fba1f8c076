"""The outputs of one source: built from the configuration, fed by one producer thread, switched by commands."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from detectors.buffer.fields import Field
from detectors.buffer.registration import DetectorInfo
from detectors.buffer.writer import BufferWriter
from detectors.config import Config, SourceSection, UdpSection
from detectors.errors import CommandError, HostError
from detectors.frame import RecordShape
from detectors.outputs.stage import Stage, StageAccount
from detectors.outputs.zmq_module import ModulePublisher
from detectors.pools.pebble import PebbleLease
from detectors.roots import confined
from detectors.stats import OutputStats
from detectors.worker_names import worker_name

PUBLISH_SHARE: Final = 256
"""Most frames that the publisher may hold, a quarter of a second at 1 kHz: it shares the processors with all the rest, and has to wait
at times. Live data is dropped rather than kept for longer."""

CLOSE_S: Final = 5.0
"""How long queued frames may still be written when an output is closed, s, unless its owner says otherwise."""


ACCOUNTS: Final = {output: StageAccount.names(output) for output in ("disk", "zmq")}
"""The blocks of the counters page that the outputs write, with the names of their values."""

_NO_ACCOUNTS: Final[Mapping[str, StageAccount]] = {}


def shares(slots: int) -> tuple[int, int]:
    """Return how many frames the disk and the publisher may hold of a pebble with ``slots``, one of which is never used.

    The disk has three quarters, since it must not lose data; what is left is for the frames that are being received, and
    for new ones while the disk is busy with its oldest. Those of the publisher are among the newest of the disk.
    """
    usable = slots - 1
    return max(1, usable * 3 // 4), max(1, min(PUBLISH_SHARE, usable // 2))


def stream_address(config: Config, source: SourceSection) -> str:
    """Return the ZMQ address that a source's module stream is bound to."""
    if config.zmq.port_base is None:
        return config.runtime_names.frames(worker_name(source))
    host = config.host_of(source)
    return f"tcp://{host.bind if host else config.zmq.host}:{config.zmq.port_base + config.sources.index(source)}"


def remote_address(config: Config, source: SourceSection) -> str:
    """Return the ZMQ address at which other hosts find a source's module stream; the configuration has ports for it."""
    assert config.zmq.port_base is not None
    host = config.host_of(source)
    return f"tcp://{host.at if host else config.zmq.host}:{config.zmq.port_base + config.sources.index(source)}"


@dataclass(frozen=True, slots=True)
class Outputs:
    """The disk and ZMQ stages of one source; ``disk`` is None when the configuration has no [disk].

    ``roots`` are the folders that the disk may be moved below.
    """

    disk: Stage | None
    zmq: Stage | None
    roots: tuple[Path, ...] = ()

    @classmethod
    def build(
        cls,
        config: Config,
        source: SourceSection,
        *,
        shape: RecordShape,
        dtype: str,
        frame_shape: tuple[int, ...],
        slots: int,
        folder: Path | None = None,
        fields: Sequence[Field] = (),
        accounts: Mapping[str, StageAccount] = _NO_ACCOUNTS,
    ) -> Self:
        """Start the stages; ``slots`` is the pebble's count, ``accounts`` are theirs, by name.

        ``folder`` is another folder for the detector than the configuration says; ``fields`` are the arrays that the data
        consists of, if there are several. Raises HostError when the folder cannot be written or the address cannot be bound.
        """
        disk_share, zmq_share = shares(slots)
        writer, root = None, config.disk_folder(source)
        if config.disk and root:
            writer = BufferWriter(
                folder or root / config.detector_of(source),
                DetectorInfo(
                    dtype,
                    frame_shape,
                    shape.data_bytes,
                    (config.module_of(source),),
                    tuple(fields),
                    source.placed if isinstance(source, UdpSection) else None,
                ),
                direct=config.disk.direct,
                sidecar=config.disk.sidecar,
                crc=config.disk.crc,
                min_free=int(config.disk.min_free),
                sync_s=config.disk.sync_s,
                server=config.detector.prefix,
            )
        try:
            publisher = ModulePublisher(
                stream_address(config, source), config.zmq.high_water_mark, config.zmq.curve_keys
            )
        except HostError:
            if writer:
                writer.close()
            raise
        return cls(
            Stage(writer, enabled=config.disk.enabled, share=disk_share, account=accounts.get("disk"))
            if writer and config.disk
            else None,
            Stage(publisher, enabled=config.zmq.enabled, share=zmq_share, account=accounts.get("zmq")),
            config.disk_roots(source),
        )

    def offer(self, lease: PebbleLease) -> None:
        """Give a frame to every stage that takes it, and take the lease over."""
        takers = self.admit()
        if takers:
            self.put(lease, takers)
        else:
            lease.close()

    def admit(self) -> list[Stage]:
        """Count a frame that is offered to every stage; return those that take it: ``put`` it then."""
        return [stage for stage in (self.disk, self.zmq) if stage and stage.admit()]

    @staticmethod
    def put(lease: PebbleLease, takers: Sequence[Stage]) -> None:
        """Give an admitted frame to the stages that take it, one at least, and take the lease over."""
        for stage in takers[1:]:
            stage.put(lease.clone())
        takers[0].put(lease)

    def set_enabled(self, output: str, enabled: bool) -> None:  # noqa: FBT001
        """Switch one output, ``disk`` or ``zmq``. Raises CommandError for an unknown or unconfigured one."""
        self._stage(output).set_enabled(enabled)

    def set_folder(self, folder: str, prepare: Callable[[Path], object] = lambda _: None) -> "Future[str]":
        """Write to ``folder/detector/module`` from the next frame on; never waits.

        ``prepare`` is called with that folder before anything is written there; what it raises refuses the folder.
        The Future's result is the folder without symlinks. It raises CommandError for one outside the roots, HostError for
        one that cannot be written.
        """
        stage = self._stage("disk")
        writer = stage.sink
        assert isinstance(writer, BufferWriter)

        def move() -> str:
            found = confined(folder, self.roots)
            module_folder = confined(found / writer.folder.name / writer.module, self.roots)
            prepare(module_folder)
            writer.set_folder(module_folder.parent)
            return str(found)

        return stage.submit(move)

    def stats(self) -> dict[str, OutputStats]:
        """Return the snapshots of both, under the names that the worker snapshots use."""
        return {name: stage.stats() if stage else OutputStats() for name, stage in self._stages()}

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what is queued and end; False when frames were left after ``timeout_s``: they count as dropped. Idempotent."""
        deadline = time.monotonic() + timeout_s
        # The live stream first: it takes no time, and the disk goes on writing meanwhile.
        done = [stage.close(max(0.0, deadline - time.monotonic())) for stage in (self.zmq, self.disk) if stage]
        return all(done)

    def _stages(self) -> tuple[tuple[str, Stage | None], ...]:
        return ("disk", self.disk), ("zmq", self.zmq)

    def _stage(self, output: str) -> Stage:
        stage: Any = dict(self._stages()).get(output)
        if stage is None:
            raise CommandError(f"output: found {output!r}, expected one of disk, zmq that the configuration has")
        return stage
