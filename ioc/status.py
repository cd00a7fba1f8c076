"""What the IOC shows of itself and of the workers' processes, beside the workers' snapshots."""

from dataclasses import dataclass
from typing import Final

OWNER: Final = "ioc"
"""Stands for the IOC itself in bindings, as workers' names stand for them."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The process of one worker, as its supervisor sees it."""

    enabled: bool = False
    """It is to run."""
    running: bool = False
    """It runs."""
    responding: bool = False
    """It runs and sent a snapshot recently."""
    adopted: bool = False
    """It ran before this IOC started."""
    pid: int = 0
    started_s: float = 0.0
    """Start on the monotonic clock, s."""
    restarts: int = 0
    message: str = ""
    """Why it does not run: how it ended, and the last line that it printed."""


@dataclass(frozen=True, slots=True)
class IocStatus:
    """The IOC as a whole."""

    version: str = ""
    start_time: str = ""
    uptime_s: float = 0.0
    heartbeat: int = 0
    pid: int = 0
    workers: int = 0
    workers_running: int = 0
    workers_restarted: int = 0
    plan: str = ""
    host: str = ""
    """Problems of the host at the start, each with its remedy, a line each."""
    host_warnings: int = 0
    alarm: str = "None"
    """None, Minor, Major, Invalid."""
    health: str = ""
    run_state: str = "Unconfigured"
    """The state that all sources that respond have reached."""
    acquiring: bool = False
    message: str = ""
    """The last refusal, or what the run waits for."""
    refused: int = 0
    event: str = ""
    """The last event, in a line."""
    event_severity: str = "None"
    events: int = 0
    """Events since the start."""
    log: str = ""
    """The last line of the log that is a warning or worse."""
    log_severity: str = "None"
