"""Names of areaDetector's that can mean only one thing here: their value is fixed, and a put of another one is refused.

Stock classes (ophyd-async, ophyd) connect to them, and set some to the value that they have. What can be set to more than one
value has a record of its own in a template. Names, types and choices: ADCore, NDArrayBase, ADBase, NDPluginBase, NDFile, NDFileHDF5.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from detectors.errors import CommandError
from ioc.bindings import Handler

_BOTH, _SET, _READ = ("", "_RBV"), ("",), ("_RBV",)


@dataclass(frozen=True, slots=True)
class FixedName:
    """One name with its one value."""

    name: str
    value: str
    description: str
    """At most 30 characters: the record part stands before it."""
    kind: str = "long"
    """long, real, text or choice (``value`` is then one of ``choices``)."""
    choices: tuple[str, ...] = ()
    records: tuple[str, ...] = _BOTH
    """Ends of the record names: "" is a setpoint, "_RBV" its reading."""
    unit: str = ""
    reads: bool = False
    """All its records are readings, also that without "_RBV"."""

    def records_of(self, part: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield template and macros of each record of ``part`` (``cam1``), but for P and R."""
        value = str(self.choices.index(self.value)) if self.choices else self.value
        for end in self.records:
            macros = {
                "N": self.name + end,
                "V": value,
                "U": self.unit,
                "D": f"{part}: {self.description}",
            }
            macros |= {f"C{number}": choice for number, choice in enumerate(self.choices)}
            yield f"fixed_{self.kind}_{'in' if end or self.reads else 'out'}.template", macros


def _number(
    name: str, value: str, description: str, unit: str = "count", records: tuple[str, ...] = _BOTH
) -> FixedName:
    return FixedName(name, value, description, "real" if "." in value else "long", (), records, unit)


def _text(name: str, value: str, description: str, records: tuple[str, ...] = _READ) -> FixedName:
    return FixedName(name, value, description, "text", (), records)


def _choice(
    name: str, value: str, description: str, choices: Iterable[str], records: tuple[str, ...] = _BOTH
) -> FixedName:
    return FixedName(name, value, description, "choice", tuple(choices), records)


_NO_YES: Final = ("No", "Yes")
_SWITCH: Final = ("Disable", "Enable")

_OPEN: Final = ("Close", "Open")

_ARRAY: Final = (
    _text("ADCoreVersion", "3.14.0", "areaDetector names of"),
    _number("AsynIO", "0", "there is no asyn port", records=_SET),
    _text("DriverVersion", "pebbledaq", "driver"),
)
"""Of every driver and plugin."""

_PLUGIN: Final = (
    *_ARRAY,
    _text("NDArrayPort", "CAM1", "source of the images", _BOTH),
    _number("NDArrayAddress", "0", "address of the source"),
    _choice("BlockingCallbacks", "Yes", "Acquire waits for the file", _NO_YES),
    _number("MinCallbackTime", "0.0", "least time between images", "s"),
    _choice("BayerPattern", "RGGB", "Bayer pattern", ("RGGB", "GBRG", "GRBG", "BGGR"), _READ),
    _number("DroppedArrays", "0", "totals are never reset", "images", _SET),
    _number("NumThreads", "1", "threads"),
    _choice("SortMode", "Unsorted", "images come in order", ("Unsorted", "Sorted")),
    _number("QueueFreeLow", "0", "no alarm of the queue", "images", _SET),
    _number("QueueUseHIGH", "0", "no warning of the queue", "images", _SET),
    _number("QueueUseHIHI", "0", "no second alarm of the queue", "images", _SET),
)

_PEAKS: Final = tuple(f"{what}{axis}" for what in ("Num", "Start", "Step", "Width") for axis in "XY")

CAMERA: Final = (
    *_ARRAY,
    _text("PortName", "CAM1", "port"),
    _text("Manufacturer", "pebbledaq", "maker of this server"),
    _text("Model", "Detector server", "model"),
    _text("SerialNumber", "not known", "serial number"),
    _text("SDKVersion", "not used", "version of the SDK"),
    _text("FirmwareVersion", "not known", "firmware version"),
    _choice("WaitForPlugins", "Yes", "Acquire waits for the file", _NO_YES, _SET),
    _choice("ArrayCallbacks", "Enable", "images go to the outputs", _SWITCH),
    _choice("TriggerMode", "Internal", "the detector decides", ("Internal", "External")),
    _choice("FrameType", "Normal", "frame type", ("Normal", "Background", "FlatField", "DblCorrelation")),
    _number("NumExposures", "1", "exposures of an image", "exposures"),
    _number("BinX", "1", "binning of columns", "pixels"),
    _number("BinY", "1", "binning of rows", "pixels"),
    _number("MinX", "0", "first column", "pixels"),
    _number("MinY", "0", "first row", "pixels"),
    _choice("ReverseX", "No", "columns reversed", _NO_YES),
    _choice("ReverseY", "No", "rows reversed", _NO_YES),
    _number("Gain", "1.0", "gain factor", "factor"),
    _number("NumExposuresCounter", "1", "exposures of the last image", "exposures", _READ),
    _choice("ShutterMode", "None", "shutter", ("None", "EPICS PV", "Detector output")),
    _choice("ShutterControl", "Open", "there is no shutter", _OPEN),
    _choice("ShutterControlEPICS", "Open", "there is no EPICS shutter", _OPEN, _SET),
    _choice("ShutterStatus", "Open", "no shutter is in the way", ("Closed", "Open"), _READ),
    _choice("ShutterStatusEPICS", "Open", "no EPICS shutter is in the way", ("Closed", "Open"), _READ),
    _number("ShutterOpenDelay", "0.0", "a shutter takes to open", "s"),
    _number("ShutterCloseDelay", "0.0", "a shutter takes to close", "s"),
    _number("ShutterOpenEPICS", "0", "put to open a shutter: none", records=_SET),
    _number("ShutterCloseEPICS", "0", "put to close a shutter: none", records=_SET),
    _number("ShutterFanout", "0", "there is no shutter to tell", records=_SET),
    _choice("ReadStatus", "Done", "the status comes by itself", ("Done", "Read"), _SET),
    _text("StringToServer", "", "there is no other server"),
    _text("StringFromServer", "", "there is no answer of one"),
    _number("Temperature", "0.0", "temperature is not controlled", "degC"),
    _number("TemperatureActual", "0.0", "temperature is not measured", "degC", _SET),
    _number("TimeRemaining", "0.0", "time left is not known", "s", _READ),
    *(
        _number(f"Gain{name}", "1.0", "gain factor of simulations", "factor")
        for name in ("X", "Y", "Red", "Green", "Blue")
    ),
    _choice("SimMode", "LinearRamp", "simulations only", ("LinearRamp", "Peaks", "Sine", "Offset&Noise")),
    _number("Reset", "0", "reset of a simulation"),
    _number("Noise", "0.0", "noise of simulations", "counts"),
    _number("PeakVariation", "0.0", "peaks of simulations", "percent"),
    *(_number(f"Peak{name}", "0", "peaks of simulations", "pixels") for name in _PEAKS),
)

NO_ATTRIBUTES: Final = (_text("NDAttributesFile", "", "there is no [hdf5] to keep them", _SET),)
"""Of a camera without a worker that writes files."""

HDF5_PLUGIN: Final = (
    *_PLUGIN,
    _text("PortName", "HDF1", "port"),
    _text("PluginType", "NDFileHDF5", "plugin type"),
    _choice("EnableCallbacks", "Enable", "it takes images in a capture", _SWITCH),
    _choice("FileFormat", "HDF5", "file format", ("HDF5",)),
    _choice("AutoSave", "Yes", "a capture saves its images", _NO_YES),
    _choice("DeleteDriverFile", "No", "delete the driver's file", _NO_YES),
    _choice("SWMRMode", "On", "single writer, many readers", ("Off", "On")),
    _choice("SWMRSupported", "Supported", "SWMR", ("Not Supported", "Supported"), _READ),
    _choice("PositionMode", "Off", "places by attribute", ("Off", "On")),
    _choice("ChunkSizeAuto", "Yes", "one image is one chunk", _NO_YES),
    _choice("StoreAttr", "Yes", "attributes are stored", _NO_YES),
    _choice("StorePerform", "No", "performance data", _NO_YES),
    _choice("DimAttDatasets", "No", "dimension datasets", _NO_YES),
    _number("NumExtraDims", "0", "dimensions beside the images"),
    *(_number(f"ExtraDimSize{axis}", "1", "size of a dimension beside") for axis in "NXY"),
    *(_text(f"ExtraDimName{axis}", "", "name of a dimension beside") for axis in "NXY"),
    _choice("WriteFile", "Done", "images are written as they come", ("Done", "Write")),
    _choice("ReadFile", "Done", "files are not read back", ("Done", "Read")),
    _number("FileNumber_Sync", "0", "AutoIncrement counts by itself", records=_SET),
    _number("FileNumber_write", "0", "FileNumber is set by itself", records=_SET),
    _number("NumFramesChunks", "1", "images in a chunk", "images"),
    _number("NumFramesFlush", "0", "flush is by time", "images"),
    _number("NumRowChunks", "0", "rows in a chunk: all", "rows"),
    _number("NumColChunks", "0", "columns in a chunk: all", "columns"),
    _number("NumDataBits", "0", "bits of N-bit", "bits"),
    _number("DataBitsOffset", "0", "offset of N-bit", "bits"),
    _number("SZipNumPixels", "16", "pixels of szip", "pixels"),
    _number("ZLevel", "1", "level of zlib"),
    _number("BoundaryAlign", "4096", "alignment of large chunks", "B"),
    _number("BoundaryThreshold", "65536", "chunks that are aligned", "B"),
    _number("RunTime", "0.0", "run time is not measured", "s", _SET),
    _number("IOSpeed", "0.0", "speed is not measured", "Mbit/s", _SET),
    _text("XMLFileName", "", "layout: the documented one", _BOTH),
)

_VIEWER: Final = (
    *_PLUGIN,
    _text("NDAttributesFile", "", "HDF1 and cam1 have them", _SET),
    _number("ArrayCounter", "0", "totals are never reset", "images", _SET),
    _number("QueueSize", "1", "images that wait: the newest", "images"),
    FixedName("QueueFree", "1", "the newest image is always taken", records=_SET, unit="images", reads=True),
    FixedName("QueueUse", "0", "no image waits for another", records=_SET, unit="images", reads=True),
)

IMAGE_PLUGIN: Final = (
    *_VIEWER,
    _text("PortName", "IMAGE1", "port"),
    _text("PluginType", "NDPluginStdArrays", "plugin type"),
)

PVA_PLUGIN: Final = (
    *_VIEWER,
    _text("PortName", "PVA1", "port"),
    _text("PluginType", "NDPluginPva", "plugin type"),
    _choice("EnableCallbacks", "Enable", "images go to its subscribers", _SWITCH),
)


def handlers() -> Mapping[str, Handler]:
    """Return the handlers of the setpoints."""
    return {
        "fixed_number": Handler(_keep_number, _as_number),
        "fixed_text": Handler(_keep_text, lambda *words: " ".join(words)),
    }


def _as_number(word: str) -> float:
    return float(word) if "." in word else int(word)


async def _keep_number(value: Any, word: str) -> None:
    if float(value) != float(word):
        raise CommandError(f"found {value}, expected {word}: this name has no other value here")


async def _keep_text(value: Any, *words: str) -> None:
    text = " ".join(words)
    if value.rstrip("\0") != text:
        raise CommandError(f"found {value!r}, expected {text!r}: this name has no other value here")
