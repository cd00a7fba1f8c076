"""A module's worker as those see it that take its frames: a pebble with notifications, and a stream."""

import numpy as np
import zmq

from detectors.frame import FrameHead, RecordShape
from detectors.pixels import FrameLayout
from detectors.pools.pebble import Pebble
from detectors.pools.segment import least_slot_bytes
from detectors.runtime_names import RuntimeNames
from sim.pattern import frame_pattern, stored_pattern

SLOTS = 16


class FakeModule:
    """Module ``number``, ``udp.M<number>`` of a configuration, with frames of the pattern."""

    def __init__(
        self,
        runtime: RuntimeNames,
        number: int,
        context: zmq.Context,
        shape: tuple[int, int] = (64, 128),
        packets: int = 4,
        *,
        dtype: str = "uint16",
        address: str = "",
    ) -> None:
        """``address``: of its module stream, where that is not in the runtime folder."""
        self.number = number
        self.layout = FrameLayout(shape, dtype)
        self.packets = packets
        name = f"udp.M{number:02}"
        record = RecordShape(self.layout.data_bytes)
        runtime.make_folder()
        self.pebble = Pebble(
            runtime.shm(name),
            record,
            count=SLOTS,
            slot_bytes=least_slot_bytes(record),
            info={"dtype": dtype, "shape": list(shape)},
        )
        self.notify = context.socket(zmq.XPUB)
        self.notify.bind(runtime.notify(name))
        self.frames = context.socket(zmq.XPUB)
        self.frames.bind(address or runtime.frames(name))

    def head(self, pulse_id: int) -> FrameHead:
        return FrameHead(pulse_id, pulse_id + 5, 1, self.packets, self.number, expected_packets=self.packets)

    def pixels(self, pulse_id: int) -> np.ndarray:
        return frame_pattern(pulse_id, self.number, self.layout.shape, self.layout.dtype)

    def wait_for_subscriber(self, socket: zmq.Socket) -> None:
        assert socket.poll(20_000)
        assert socket.recv()[:1] == b"\1"

    def send(self, pulse_id: int, *, notify: bool = True, **changes: object) -> None:
        """Send a frame; ``changes`` are fields of its head."""
        loan = self.pebble.claim(pulse_id)
        loan.data[:] = stored_pattern(pulse_id, self.number, self.layout)
        loan.freeze(self.head(pulse_id)._replace(**changes)).close()
        if notify:
            self.notify.send(pulse_id.to_bytes(8, "little"))

    def publish(self, pulse_id: int) -> None:
        self.frames.send_multipart(
            [self.head(pulse_id).module_frame, stored_pattern(pulse_id, self.number, self.layout)]
        )

    def close(self) -> None:
        self.pebble.close()
        self.notify.close(linger=0)
        self.frames.close(linger=0)
