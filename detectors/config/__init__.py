"""The configuration file: one TOML file describes a detector.

``load_config`` reports every mistake at once, each in one line with its place.
"""

from detectors.config.hosts import ControlSection, HostSection, unreachable
from detectors.config.load import Config, load_config, parse_config
from detectors.config.sections import (
    AlarmsSection,
    DiskSection,
    DmaSection,
    Hdf5Section,
    ImagesSection,
    LogSection,
    PlacedSection,
    PoolsSection,
    ProcessSection,
    PvaSection,
    SourceSection,
    StreamSection,
    TimingSection,
    UdpSection,
    WebSection,
    WorkerTuning,
)

__all__ = [
    "AlarmsSection",
    "Config",
    "ControlSection",
    "DiskSection",
    "DmaSection",
    "Hdf5Section",
    "HostSection",
    "ImagesSection",
    "LogSection",
    "PlacedSection",
    "PoolsSection",
    "ProcessSection",
    "PvaSection",
    "SourceSection",
    "StreamSection",
    "TimingSection",
    "UdpSection",
    "WebSection",
    "WorkerTuning",
    "load_config",
    "parse_config",
    "unreachable",
]
