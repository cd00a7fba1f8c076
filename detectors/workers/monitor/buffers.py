"""The memory and the outputs of a configured PvMonitor, and how an event gets into them."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from detectors.assembly.datagram import DatagramLayout, missing_mask
from detectors.assembly.match import Settled
from detectors.buffer.registration import read_detector
from detectors.config import Config, PvaSection
from detectors.errors import BufferReadError
from detectors.frame import Damage, FrameHead
from detectors.outputs.outputs import Outputs, shares
from detectors.outputs.stage import StageAccount
from detectors.pools.host_memory import Machine, check_memory
from detectors.pools.pebble import Pebble, PebbleLease, PebbleLoan
from detectors.pools.sizing import BufferPlan
from detectors.pools.transition import TransitionPool
from detectors.worker_names import worker_name
from detectors.workers.monitor.messages import Staged
from detectors.workers.monitor.update_slots import UpdateSlots

log = logging.getLogger(__name__)


def detector_folder(root: Path, name: str, layout: DatagramLayout) -> Path:
    """Return the folder of a detector: its name, and when that holds other frames already, its name and what it sends.

    A detector folder holds one kind of frames (``detector.json``); a camera that returns with another shape is written
    beside it, in a folder whose name depends only on what is sent. Several PVs can send arrays of one total shape in
    many ways: a checksum of the fields distinguishes them.
    """
    plain = root / name
    try:
        there = read_detector(plain)
    except BufferReadError:
        return plain
    sent = (layout.dtype, layout.shape, layout.payload_bytes, layout.parts)
    if (there.dtype, there.shape, there.data_bytes, there.fields) == sent:
        return plain
    shape = "x".join(map(str, layout.shape))
    fields = json.dumps([field.as_dict() for field in layout.parts])
    return root / f"{name}-{layout.dtype}-{shape}{f'-{crc32(fields.encode()):08x}' if layout.parts else ''}"


def slots_ahead(count: int, *, disk: bool) -> int:
    """Return how many of a pebble's slots may be claimed before their event: those that the outputs and the present event leave."""
    disk_share, zmq_share = shares(count)
    return max(0, count - 1 - (disk_share if disk else zmq_share) - 1)


class MonitorBuffers:
    """One transition pool for each PV, the pebble, and the outputs, all in memory when the constructor returns.

    Raises HostError when there is too little memory or an output cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        source: PvaSection,
        plan: BufferPlan,
        layout: DatagramLayout,
        *,
        root: Path | None,
        enabled: Mapping[str, bool],
        accounts: Mapping[str, StageAccount],
    ) -> None:
        """``root`` and ``enabled`` are what commands have set, over the configuration; ``accounts`` are the outputs'."""
        pools = config.pools_of(source)
        self.plan = plan
        self.layout = layout
        self._checked = pools.checked
        self._wait_s = pools.exhausted_wait_s
        self._ahead = slots_ahead(plan.pebble.count, disk=config.disk is not None)
        # The ring is there already.
        check_memory([replace(plan, dma=replace(plan.dma, memory_bytes=0))], Machine.read())
        with ExitStack() as undo:
            self.pebble = Pebble(
                config.runtime_names.shm(worker_name(source)),
                plan.record_shape,
                count=plan.pebble.count,
                slot_bytes=plan.pebble.size_bytes,
                pulse_id_step=config.detector.pulse_id_step,
                checked=pools.checked,
                info={
                    "detector": config.detector_of(source),
                    "module": config.module_of(source),
                    "dtype": layout.dtype,
                    "shape": list(layout.shape),
                    "packets_per_frame": len(layout.fields),
                    "fields": [f.as_dict() for f in layout.fields],
                },
            )
            undo.callback(self.pebble.close)
            self.updates = self._update_slots(layout)
            folder = None
            self.module_folder: Path | None = None
            """Where records are written at first."""
            if root := root or config.disk_folder(source):
                folder = detector_folder(root, config.detector_of(source), layout)
                if folder.name != config.detector_of(source):
                    log.warning("%s: the detector's own folder holds other frames, writing here", folder)
                self.module_folder = folder / config.module_of(source)
            self.outputs = Outputs.build(
                config,
                source,
                shape=plan.record_shape,
                dtype=layout.dtype,
                frame_shape=layout.shape,
                slots=plan.pebble.count,
                accounts=accounts,
                folder=folder,
                fields=layout.parts,
            )
            undo.pop_all()
        for output, on in enabled.items():
            self.outputs.set_enabled(output, on)

    def restage(self, layout: DatagramLayout) -> None:
        """Stage larger arrays from now on; the pebble and its records stay as they are, and events are truncated."""
        self.updates = self._update_slots(layout)
        self.layout = layout

    @property
    def truncates(self) -> bool:
        """Whether events are larger than their records."""
        return self.layout.payload_bytes > self.pebble.shape.data_bytes

    def place(self, settled: Settled[Staged]) -> PebbleLease:
        """Put the updates of one event into its pebble slot, unless they are there; the part of a missing update is zero.

        Raises PoolExhaustedError when the slot does not come free in time.
        """
        event, updates = settled.event, settled.tokens
        present = [update is not None for update in updates]
        first = next(update for update in updates if update is not None)
        head = FrameHead(
            pulse_id=event.pulse_id,
            frame_index=event.event_counter if first.unique_id is None else first.unique_id,
            daq_rec=event.env,
            n_recv_packets=sum(present),
            module_id=0,
            timestamp_ns=event.timestamp_ns,
            detector_time=first.timestamp_ns,
            damage=settled.damage | (Damage.TRUNCATED if self.truncates else Damage.NONE),
            expected_packets=len(present),
            missing=b"" if all(present) else missing_mask(present),
        )
        with first.buffer.settle(event.pulse_id) or self._filled_slot(event.pulse_id, updates) as loan:
            return loan.freeze(head, self._attributes(updates))

    def _filled_slot(self, pulse_id: int, updates: Sequence[Staged | None]) -> PebbleLoan:
        """Return the slot of a pulse with the updates copied to it."""
        for slots in self.updates:
            slots.vacate(pulse_id)
        loan = self.pebble.claim(pulse_id, self._wait_s)
        for field, update in zip(self.layout.fields, updates, strict=True):
            place = loan.data[field.offset : field.offset + field.nbytes]
            if update is None:
                place[:] = 0
            else:
                update.buffer.copy_to(place)
        return loan

    def _attributes(self, updates: Sequence[Staged | None]) -> Mapping[str, Any]:
        """Return the attributes of an event; with several PVs their names begin with the field's."""
        if len(updates) == 1:
            return updates[0].attributes if updates[0] else {}
        pairs = zip(self.layout.fields, updates, strict=True)
        return {f"{f.name}.{name}": value for f, u in pairs if u for name, value in u.attributes.items()}

    def close(self, drain_s: float) -> bool:
        """Let the outputs finish and free everything; False when they took longer than ``drain_s``."""
        for slots in self.updates:
            slots.close()
        drained = self.outputs.close(drain_s)
        self.pebble.close()
        return drained

    def _update_slots(self, layout: DatagramLayout) -> list[UpdateSlots]:
        count = self.plan.pebble.count
        ahead = self._ahead if len(layout.fields) == 1 else 0
        pools = [TransitionPool(count, f.nbytes, checked=self._checked) for f in layout.fields]
        return [UpdateSlots(pool, self.pebble, ahead) for pool in pools]
