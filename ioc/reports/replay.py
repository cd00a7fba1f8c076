"""What ``replay`` has sent."""

from detectors.replay.play import ReplayReport


def text(report: ReplayReport) -> str:
    """Return what was sent as one line."""
    found = f"{report.pulses} pulses, {report.frames} frames, {report.messages} messages in {report.elapsed_s:.1f} s"
    if report.unreadable:
        found += f"; {report.unreadable} pulses cannot be read"
    if report.torn:
        found += f"; {report.torn} frames of the others are torn and were left out"
    if report.late:
        found += f"; {report.late} pulses late: the rate is too high"
    return found
