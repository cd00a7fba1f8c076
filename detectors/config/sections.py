"""The sections of the configuration file, with the checks of single values."""

import re
from dataclasses import MISSING, fields, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from detectors.errors import ConfigError
from detectors.geometry import GEOMETRIES, ModuleGeometry
from detectors.mosaic import ModulePlace
from detectors.pixels import PIXEL_TYPES

MAX_PVS = 64
"""Most PVs of one detector, as on LCLS-II."""


def _absolute(path: Path) -> Path:
    if not path.expanduser().is_absolute():
        raise ValueError(f"found the relative path {str(path)!r}, expected an absolute one")
    return path.expanduser()


def _false_if_empty(value: object) -> object:
    return False if value == "" else value


def _one_of_geometries(value: object) -> object:
    if isinstance(value, str):
        if value not in GEOMETRIES:
            raise ValueError(f"found {value!r}, expected one of {', '.join(GEOMETRIES)} or a table")
        return GEOMETRIES[value]
    return _from_table(ModuleGeometry, {"name": "custom", **value}) if isinstance(value, dict) else value


def _place(value: object) -> object:
    return _from_table(ModulePlace, {**value}, apart="chips") if isinstance(value, dict) else value


def _from_table(kind: Any, table: dict[str, Any], apart: str = "") -> Any:
    """Return the dataclass that a table describes, all but the field ``apart``. Raises ValueError with every mistake."""
    known = [f for f in fields(kind) if f.name != apart]
    wrong = [f"{key}: unknown key; remove it or correct its spelling" for key in table.keys() - {f.name for f in known}]
    wrong += [f"{f.name}: missing; it is required" for f in known if f.default is MISSING and f.name not in table]
    try:
        if not wrong:
            return kind(**table)
    except ConfigError as error:
        wrong = list(error.problems)
    raise ValueError("\n".join(wrong))


def _source_address(value: str) -> str:
    host, colon, port = value.partition(":")
    try:
        if value:
            IPv4Address(host)
        if colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError
    except ValueError:
        raise ValueError(f"found {value!r}, expected an IPv4 address with an optional :port of 1 to 65535") from None
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", value):
        raise ValueError(f"found {value!r}, expected a letter and at most 31 more letters, digits, - and _")
    return value


def _not_settable(value: int) -> int:
    raise ValueError(
        f"found {int(value)}, but transition buffers cannot be set: their count is the pebble's and their size the "
        "payload's; remove it"
    )


def _not_a_key(value: int) -> int:
    raise ValueError(
        f"found {value}, but a module is numbered by its place in the file; remove it, or write expect_module_id = {value} "
        "to take only packets with that moduleID"
    )


Name = Annotated[str, AfterValidator(_name)]
HeaderField = Annotated[int, Field(ge=0, le=0xFFFF)]
Port = Annotated[int, Field(ge=1, le=65535)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
SourceAddress = Annotated[str, AfterValidator(_source_address)]
Bytes = Annotated[ByteSize, Field(gt=0), PlainSerializer(int)]
NotSettable = Annotated[ByteSize, AfterValidator(_not_settable)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Geometry = Annotated[ModuleGeometry, BeforeValidator(_one_of_geometries)]


if TYPE_CHECKING:
    PixelType = str
else:
    PixelType = Literal[PIXEL_TYPES]


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, arbitrary_types_allowed=True
    )


class DetectorSection(Section):
    """What the detector is called."""

    name: Name
    """Detector name: the folder on disk and the name in streams and HDF5 files."""
    prefix: Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[A-Za-z0-9_:.\[\]<>;-]+:$")]
    """PV prefix of every record, with its closing colon."""
    pulse_id_step: Annotated[int, Field(ge=1)] = 1
    """Difference between the pulse ids of two consecutive frames."""


class RunSection(Section):
    """What the IOC does at start."""

    autostart: bool = True
    """Configure and enable at start, so that the server always records; false: wait for the Acquire PV."""
    restart_workers: bool = True
    """Start a worker again, with growing delays, when it ends without a command."""
    drain_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """How long a worker that is to stop may go on writing what is queued, s; the rest is dropped and counted."""


class IocSection(Section):
    """How the IOC serves its records."""

    access_file: AbsolutePath | None = None
    """EPICS access security file, which says who may write; left out: the one that is shipped (db/pebbledaq.acf)."""
    interfaces: tuple[IPv4Address, ...] = ()
    """Addresses of this host that records are served on, over CA and PVA; none: what EPICS_CAS_INTF_ADDR_LIST and
    EPICS_PVAS_INTF_ADDR_LIST say, and without them all."""
    autosave: Annotated[AbsolutePath | Literal[False] | None, BeforeValidator(_false_if_empty)] = None
    """Folder in which settings made by clients are saved for the next start; false or "": they are not saved. Left out:
    $STATE_DIRECTORY of a systemd service, else pebbledaq in $XDG_STATE_HOME or ~/.local/state."""


class LogSection(Section):
    """What the IOC and every worker log, on standard error."""

    format: Literal["text", "json"] = "text"
    """Text for people, or JSON for a log store; one line per event."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    per_minute: Annotated[int, Field(ge=1)] = 20
    """How often a message, the same but for its numbers, is logged in a minute; then one line says how often it was repeated."""


class AlarmsSection(Section):
    """When records alarm."""

    disk_free_minor: Bytes | None = None
    """Free space of the disk at which there is a MINOR alarm, bytes; left out: none. Below disk.min_free the output is Full, MAJOR."""
    disk_free_major: Bytes | None = None
    """Free space of the disk at which there is a MAJOR alarm, bytes; left out: none."""
    pool_fill_minor: Annotated[float, Field(gt=0, le=100)] | None = None
    """Slots of a pool in use at which there is a MINOR alarm, %; left out: none."""
    pool_fill_major: Annotated[float, Field(gt=0, le=100)] | None = None
    """Slots of a pool in use at which there is a MAJOR alarm, %; left out: none."""
    window_s: Annotated[int, Field(ge=1, le=99)] = 10
    """How long losses alarm and are shown as recent, s."""
    packets_lost_minor: Annotated[int, Field(ge=1, lt=1 << 31)] = 1
    """Packets of a module lost in the window from which on there is a MINOR alarm."""
    packets_lost_major: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    """Packets of a module lost in the window from which on there is a MAJOR alarm; left out: those of a frame."""
    clock_offset_minor: Positive = 0.005
    """Offset of the clock of a host from that of the IOC's from which on there is a MINOR alarm, s: half a pulse at 100 Hz."""
    clock_offset_major: Positive = 0.01
    """Offset of a clock from which on there is a MAJOR alarm, s: a pulse at 100 Hz, and as far as `match = "fuzzy"` reaches."""

    @model_validator(mode="after")
    def _minor_comes_first(self) -> Self:
        free, least = self.disk_free_minor, self.disk_free_major
        if free is not None and least is not None and free <= least:
            raise ValueError(
                f"found disk_free_minor {free:d} and disk_free_major {least:d}, expected more space for minor"
            )
        for name in ("pool_fill", "packets_lost", "clock_offset"):
            minor, major = getattr(self, f"{name}_minor"), getattr(self, f"{name}_major")
            if minor is not None and major is not None and minor >= major:
                raise ValueError(f"found {name}_minor {minor:g} and {name}_major {major:g}, expected less for minor")
        return self


class DmaSection(Section):
    """The DMA ring: cfgRxCount buffers of cfgSize bytes, which must hold at least one whole image."""

    cfg_rx_count: Annotated[int, Field(ge=1, le=1 << 20, alias="cfgRxCount")] = 80
    """Buffers in the ring."""
    cfg_size: Annotated[Bytes, Field(alias="cfgSize")] = ByteSize(1 << 20)
    """Bytes of one buffer."""


class PoolsSection(Section):
    """The pebble pool; the transition pool follows from it and from the payload."""

    pebble_buf_count: Annotated[int | None, Field(alias="pebbleBufCount")] = None
    """Slots in the pebble: a power of two above cfgRxCount. Left out: the next such number."""
    pebble_buf_size: Annotated[Bytes | None, Field(alias="pebbleBufSize")] = None
    """Bytes of a pebble slot. Left out: one record and its alignment room, in whole pages."""
    transition_buf_count: Annotated[NotSettable | None, Field(alias="transitionBufCount")] = None
    """Refused when given: the transition pool is tied 1:1 to the pebble."""
    transition_buf_size: Annotated[NotSettable | None, Field(alias="transitionBufSize")] = None
    """Refused when given: the size is taken from the payload of the connected PV."""
    exhausted_wait_s: Annotated[float, Field(ge=0, le=10)] = 0.05
    """How long a new frame waits for its slot before it is dropped and counted as exhausted, s."""
    checked: bool = False
    """Checked mode: sentinels at the end of slots, verified at release."""


class WorkerTuning(Section):
    """How a worker's process is scheduled. A worker that does not run in time loses data, or blocks its source."""

    cpus: tuple[int, ...] = ()
    """Processors that the worker may run on; empty: all."""
    realtime_priority: Annotated[int, Field(ge=0, le=99)] | None = None
    """SCHED_FIFO priority of the threads that receive. Left out: 1 where the host allows it; 0: none."""


class PlacedSection(Section):
    """What runs on a host."""

    host: Name | None = None
    """Host that it runs on, by the name of a [[host]]: started there by that host's service manager. Left out: the IOC's own."""


class SourceSection(PlacedSection):
    """What both kinds of sources share."""

    name: Name
    """Name of the source: its PVs and processes; for a UDP module also its folder."""
    enabled: bool = True
    """Whether the source is started with the IOC."""
    dma: DmaSection | None = None
    """DMA ring of this source; left out: the common one."""
    pools: PoolsSection | None = None
    """Pools of this source; left out: the common ones."""
    tuning: WorkerTuning = WorkerTuning()
    """Processors and priority of this source's process."""


class UdpSection(SourceSection):
    """One UDP detector module: one receiver process."""

    module_id: Annotated[int | None, AfterValidator(_not_a_key)] = None
    """Refused when given: a module's number is its place among the [[udp]] tables, from 0. See expect_module_id."""
    expect_module_id: HeaderField | None = None
    """moduleID that packets must carry; others are counted as alien. Left out: any."""
    row: HeaderField | None = None
    """Row that packets must carry (xCoord of the header), where ports of one module share a moduleID. Left out: any."""
    column: HeaderField | None = None
    """Column that packets must carry (yCoord of the header). Left out: any."""
    port: Port
    """UDP port to listen on."""
    address: str = "0.0.0.0"  # noqa: S104  a detector's link is chosen by the host's routing
    """Address to listen on."""
    source: SourceAddress = ""
    """Sender to accept, ``ip`` or ``ip:port``; empty: any. Others are counted as alien."""
    geometry: Geometry = GEOMETRIES["jungfrau"]
    """Name of a known geometry, or a table of header, rows, cols, dtype and packets_per_frame; where images have gaps, also
    of chip_rows, chip_cols and gap."""
    place: Annotated[ModulePlace, BeforeValidator(_place)] | None = None
    """Place in images with gaps: a table of row and column of its first pixel, flip ("rows", "columns") and rotate (degrees)."""
    reorder_window: Annotated[int, Field(ge=0, le=16)] = 1
    """Frames over which late packets are still placed."""
    flush_timeout_s: Positive = 0.1
    """A frame is closed when no packet of the module came for this long, s."""
    max_latency_s: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    """How long packets may wait in the socket buffer, s: the longer, the more are taken at a time, and the less each costs."""
    max_frame_gap: Annotated[int, Field(ge=1)] = 100
    """Largest forward step of frame_index taken for lost frames; beyond it the stream is resynchronised."""
    max_pulse_jump: Annotated[int, Field(ge=1)] = 100_000
    """Largest forward step of pulse_id between frames that is not flagged as a bad pulse."""
    pulse_from: Literal["bunchid", "framenum", "timestamp"] | None = None
    """Where the pulse_id comes from: the bunch id of a timing system, the frame number in steps of pulse_id_step, or the
    time stamp in pulse_period_ns. Left out: bunchid for the header jungfrau, else framenum, as stock EIGERs send no bunch id."""
    pulse_period_ns: Annotated[int, Field(ge=100)] = 10_000_000
    """Time between frames for ``pulse_from = "timestamp"``, ns."""

    @property
    def pulse_source(self) -> Literal["bunchid", "framenum", "timestamp"]:
        """``pulse_from``, or what it is for this geometry when left out."""
        return self.pulse_from or ("bunchid" if self.geometry.header == "jungfrau" else "framenum")

    @property
    def placed(self) -> ModulePlace | None:
        """Its place, with the chips of its geometry."""
        return replace(self.place, chips=self.geometry.chips) if self.place else None


class PvaSection(SourceSection):
    """One camera: an image PV, or several, received by one monitor process."""

    pv: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=MAX_PVS),
        BeforeValidator(lambda v: (v,) if isinstance(v, str) else v),
    ]
    """PV specification, or a list of them: ``[alias=][provider/]PV[.field]``, then ``,firstdim``, ``[shape]``, ``(type)`` or both."""
    dtype: PixelType | None = None
    """Pixel type expected; left out: as introspected. Must agree with the PV."""
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = None
    """Array shape expected, slowest dimension first; left out: as introspected. Lets sizes be planned unconnected."""
    client: Literal["auto", "direct", "p4p"] = "auto"
    """PVA client: ``direct`` is our own, which receives into the slot, ``p4p`` is p4p's; ``auto`` takes ours for arrays from
    direct_above on."""
    direct_above: Bytes = ByteSize(256 << 10)
    """Array size from which ``auto`` takes the direct client, bytes."""
    match: Literal["exact", "fuzzy", "none"] = "exact"
    """How PV updates are matched with timing events: by equal timestamp, within 10 ms, or in the order in which they come. Without
    [timing] the PV runs free."""
    match_tmo_ms: Annotated[int, Field(ge=1, le=600_000)] = 1500
    """How long an event waits for its PV update, ms."""
    pulse_from: Literal["unique_id", "timestamp"] = "unique_id"
    """Where the pulse_id comes from when there is no timing: the unwrapped uniqueId, or the timestamp in pulse periods."""
    pulse_period_ns: Annotated[int, Field(ge=1)] = 10_000_000
    """Pulse period for ``pulse_from = "timestamp"``, ns."""
    connect_timeout_s: Positive = 3.0
    """How long Configure waits for the PV, s."""
    on_payload_change: Literal["replan", "pause"] = "replan"
    """When the camera returns with another shape or type: drain, re-plan and go on, or stay paused until Configure."""
    when_full: Literal["drop", "hold"] = "drop"
    """When no transition slot is free: drop the update and count it, or stop reading until one is free."""


class TimingSection(Section):
    """The timing stream: 40-byte headers over UDP."""

    port: Port
    """UDP port to listen on."""
    address: str = "127.0.0.1"
    """Address to listen on, or a multicast group to join: needed where several [[pva]] sources share the stream."""


class RootedSection(Section):
    """A folder that clients may move, as far as the roots allow."""

    folder: AbsolutePath
    """Folder that is used until a client moves it."""
    roots: tuple[AbsolutePath, ...] = ()
    """Folders that clients may move it below; none: ``folder`` alone. A root must exist: no client can make it."""

    @property
    def allowed(self) -> tuple[Path, ...]:
        """The roots in force."""
        return self.roots or (self.folder,)

    @model_validator(mode="after")
    def _folder_is_allowed(self) -> Self:
        if not any(self.folder.is_relative_to(root) for root in self.allowed):
            raise ValueError(
                f"found the folder {self.folder}, expected one below the roots {', '.join(map(str, self.roots))}"
            )
        return self


class DiskSection(RootedSection):
    """The binary buffer on disk: a detector's records lie in ``folder/detector/module``."""

    enabled: bool = True
    """Whether frames are written from the start."""
    direct: bool = True
    """Write with O_DIRECT where the file system takes it."""
    sidecar: bool = True
    """Write ``<file>.meta``: times, damage, missing packets and CRC of each pulse."""
    crc: bool = True
    """Whether the sidecar has a CRC of the pixels, which ``verify`` compares. It takes about as long as the write itself."""
    sync_s: Positive = 10.0
    """Records are durable, safe from a loss of power, after this time at the latest, s; files that are full at once."""

    min_free: Bytes = ByteSize(2 << 30)
    """Free space below which writing pauses with an alarm, bytes."""
    keep_size: Bytes | None = None
    """Retention: most bytes of data kept on each host; left out: no limit."""
    keep_hours: Positive | None = None
    """Retention: longest time that data is kept, hours; left out: no limit."""
    keep_free: Bytes | None = None
    """Retention: oldest data files are deleted until this much is free, bytes; left out: none."""


class ZmqSection(Section):
    """The live module streams: ZMQ PUB, two parts."""

    enabled: bool = True
    """Whether frames are published from the start."""
    port_base: Port | None = None
    """Publish on ``tcp://host:(port_base + index)``, index counting all sources, modules first; left out: on ipc in the runtime folder.
    Needed when an output is on another host than a source."""
    host: str = "127.0.0.1"
    """Address that tcp streams of sources without a [[host]] are bound to; others are on the address of theirs."""
    curve_keys: AbsolutePath | None = None
    """Folder of CURVE keys (``pebbledaq keys``): module and image streams over tcp are then encrypted and for its clients only."""
    high_water_mark: Annotated[int, Field(ge=1)] = 100
    """Frames queued for one subscriber before further ones are dropped for it."""


class StreamSection(PlacedSection):
    """The assembled image streams (``pebbledaq stream``)."""

    enabled: bool = True
    """Whether ``run`` starts the assembler."""
    full: str = ""
    """Address of the PUSH stream of every image; empty: none."""
    reduced: str = ""
    """Address of the PUB stream of every header and some images; empty: none."""
    pulse: str = ""
    """Address of the PUB stream of bare pulse ids; empty: none."""
    reduced_rate_hz: Positive = 10.0
    """Images a second in the reduced stream."""
    pulse_offset_limit: Annotated[int, Field(ge=1)] = 100
    """Pulses that modules may be apart before the synchronisation is restarted with an alarm."""
    sync_retry_limit: Annotated[int, Field(ge=1)] = 3
    """Attempts to align the modules before the same restart."""
    missing_module: Literal["fill", "wait"] = "fill"
    """With a dead module: make images without it, or wait for it."""
    missing_after_s: Positive = 1.0
    """Silence after which a module counts as dead, s."""
    high_water_mark: Annotated[int, Field(ge=1)] = 20
    """Images queued for one consumer."""
    compression: Literal["none", "bslz4"] = "none"
    """Compression of the full stream. Each image is compressed once: [hdf5] and [images] on the same host take it when they have the
    same compression."""
    compression_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that compress, each on one image."""
    parts: bool = False
    """Whether each host that has modules streams its part of the images (``pebbledaq stream CONFIG HOST``): every one to consumers on
    that host, and one of ``join_every`` to this stream, which joins them to whole images."""
    part_port_base: Port | None = None
    """First of the tcp ports of the parts, two for each [[host]] in the order of the file: full and reduced. Needed with parts."""
    join_every: Annotated[int, Field(ge=1)] = 100
    """With parts: one image of so many has pixels in the streams of whole images, counted in steps of the pulse id."""
    layout: Literal["stack", "geometry"] = "stack"
    """Images are the modules one below the other, or with every module at its place, with the gaps between and in them."""
    gap_value: float = 0
    """Value of pixels that no chip covers, with the layout "geometry"."""
    pedestal_file: str = ""
    """Passed on in the image header."""
    gain_file: str = ""
    """Passed on in the image header."""

    @model_validator(mode="after")
    def _compresses_the_full_stream(self) -> Self:
        if self.compression != "none" and (self.parts or not self.full):
            raise ValueError(
                f"found compression {self.compression!r}, expected none with parts, and else an address of full, whose images it is of"
            )
        return self


class Hdf5Section(RootedSection, PlacedSection):
    """The HDF5 output stage that PVs drive: FilePath starts with ``folder``."""

    compression: Literal["none", "bslz4", "blosc", "lz4", "zlib"] = "none"
    """Filter of the image dataset."""
    on_loss: Literal["fill", "fail", "skip"] = "fill"
    """What becomes of missing images: written as zeros marked bad, the end of the acquisition, or left out and counted."""


class ImagesSection(PlacedSection):
    """Live images as PVs (``pebbledaq images``): NTNDArrays over PVA, and a small one over Channel Access.

    How modules are put together to images is said in [stream].
    """

    enabled: bool = True
    """Whether ``run`` starts the worker. It does nothing while no client is connected."""
    image_hz: Positive = 1.0
    """Images a second of Pva1:Image, at most."""
    preview_hz: Positive = 10.0
    """Images a second of Pva1:Preview, at most."""
    preview_pixels: Annotated[int, Field(ge=1)] = 1_000_000
    """Pixels of Pva1:Preview, at most: every n-th pixel of every n-th row is shown."""
    preview_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Width and height of Pva1:Preview, at most; left out: as preview_pixels allows."""
    codec: Literal["none", "lz4", "bslz4", "blosc"] = "none"
    """Compression of Pva1:Image."""
    preview_codec: Literal["none", "jpeg"] = "none"
    """Compression of Pva1:Preview. JPEG has 8 bits: the range of each image's values is mapped to them."""
    ca: bool = False
    """Whether image1:ArrayData is updated from the start, as image1:EnableCallbacks says later."""
    ca_hz: Positive = 2.0
    """Images a second of image1:ArrayData, at most."""
    ca_pixels: Annotated[int, Field(ge=1, le=1 << 26)] = 1 << 18
    """Elements of image1:ArrayData: larger images are made smaller as previews are."""
    port: Port | None = None
    """TCP port that images are served on over PVA; left out: any free one, which clients find by searching. A second detector
    is served on the next port, and so on."""


class ProcessSection(PlacedSection):
    """A user's function on live images (``pebbledaq process``): results as PVs over PVA, and as a ZMQ stream.

    How modules are put together to images is said in [stream].
    """

    enabled: bool = True
    """Whether ``run`` starts the worker."""
    function: Annotated[str, Field(pattern=r"^.+:[^:]+$")]
    """``module:name``, or ``/path/file.py:name``: called with an image and its head, it returns a number, an array, or a dict of them."""
    detector: str = ""
    """The detector that the images are of: a PVA source, or the detector of the modules; needed where there are several."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that run the function. One more adds up the results."""
    queue: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Images that may wait for a process; further ones are dropped and counted."""
    publish_hz: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Times a second that results are published, at most."""
    results: str = ""
    """Address of the PUB stream of results; empty: none."""
    port: Port | None = None
    """TCP port that results are served on over PVA; left out: any free one, which clients find by searching."""


class WebSection(PlacedSection):
    """The page in the browser (``pebbledaq web``), which only shows. It needs the packages of the extra ``web``."""

    enabled: bool = True
    """Whether ``run`` starts the worker. No image is gathered while no browser shows one."""
    address: IPv4Address = IPv4Address("127.0.0.1")
    """Address of this host that the page is served on; 0.0.0.0: all, and everybody who can reach them sees the detector."""
    port: Port = 8080
    """TCP port of the page."""
    image_hz: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Images a second, at most."""
    pixels: Annotated[int, Field(ge=1, le=1 << 24)] = 1 << 19
    """Pixels of an image in the browser, at most: every n-th pixel of every n-th row is shown."""
