"""What the log says of a frame whose pulse_id is bad. Pure."""

from detectors.assembly.held_stream import HeldFrame
from detectors.assembly.packet_run import PacketRun
from detectors.wire.headers import PulseFrom


def bad_pulse_note(run: PacketRun | HeldFrame, pulse_id: int, pulse_from: PulseFrom) -> tuple[str, str]:
    """Return the kind of fault and the text for ``Notes``: ``run`` is kept as ``pulse_id``."""
    kept = f"frame {run.index} is kept as pulse {pulse_id} and flagged"
    if pulse_from == "timestamp":
        said = f"time stamp {run.detector_time} is not one or more periods after the frame before"
        return "time stamp", f'{said}: {kept}; pulse_period_ns may be wrong, or set pulse_from = "framenum"'
    if run.pulse is not None:
        return "pulse jump", f"the packets carry bunchid {run.pulse}, which jumps or stands still: {kept}"
    if run.bits:
        return "unusable pulse", f"the packets carry an unusable bunchid: {kept}"
    remedy = 'set pulse_from = "framenum" or "timestamp" for the module'
    return "no bunchid", f"the packets carry bunchid 0: {kept}; {remedy}"
