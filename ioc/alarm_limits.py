"""The limits of ``[alarms]`` as macros of the templates. Pure."""

from detectors.config.sections import AlarmsSection


def macros(alarms: AlarmsSection) -> dict[str, str]:
    """Return the macros that every template gets. A free space of 0 and the severity NO_ALARM stand for no limit."""
    found = {
        "FREE_MINOR": f"{alarms.disk_free_minor or 0:d}",
        "FREE_MAJOR": f"{alarms.disk_free_major or 0:d}",
        "RECENT": f"{alarms.window_s:d}",
        "LOST_MINOR": f"{alarms.packets_lost_minor:d}",
        "OFFSET_MINOR": f"{alarms.clock_offset_minor * 1000:g}",
        "OFFSET_MAJOR": f"{alarms.clock_offset_major * 1000:g}",
    }
    for severity, limit in (("MINOR", alarms.pool_fill_minor), ("MAJOR", alarms.pool_fill_major)):
        found[f"FILL_{severity}"] = f"{limit or 0:g}"
        found[f"FILL_{severity}_SEVERITY"] = severity if limit else "NO_ALARM"
    return found


def packets_lost_major(alarms: AlarmsSection, frame_packets: int) -> int:
    """Return from how many lost packets on a module has a MAJOR alarm: as configured, else from a frame."""
    return alarms.packets_lost_major or max(frame_packets, alarms.packets_lost_minor)
