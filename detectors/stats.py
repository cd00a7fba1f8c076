"""Frozen snapshots of every counter, and the balance that they must keep.

Each counter has one owner, one name and one line in the balance. Workers publish these as JSON; the IOC binds records
to them by their dotted names (``packets.lost``).
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, cast

import orjson


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool of slots. ``acquires = returns + in_use``; ``misses`` are tries that found no slot."""

    count: int = 0
    size_bytes: int = 0
    total_bytes: int = 0
    in_use: int = 0
    high_water: int = 0
    acquires: int = 0
    returns: int = 0
    collected: int = 0
    """Holds that were not released and came back when the garbage collector found them."""
    misses: int = 0
    """Tries that found no free slot at once."""
    exhausted: int = 0
    """Requests given up because no slot came free in time."""
    overruns: int = 0
    """Sentinels found overwritten at release (checked mode)."""
    out_of_order: int = 0
    """Releases out of event order."""
    wait_s: float = 0.0
    """Time spent waiting for slots, s."""


@dataclass(frozen=True, slots=True)
class DmaStats:
    """The DMA ring. For a socket buffer ``in_use`` is in buffers' worth of queued bytes."""

    count: int = 0
    size_bytes: int = 0
    total_bytes: int = 0
    granted_bytes: int = 0
    """What the kernel gave; less than total_bytes when net.core.rmem_max is too small."""
    in_use: int = 0
    high_water: int = 0
    overruns: int = 0
    """Packets, or timing datagrams, lost because the ring was full; for a socket the kernel's count of drops."""


@dataclass(frozen=True, slots=True)
class PacketStats:
    """Fate of every packet of a module.

    ``received = placed + bad_pulse + duplicate + late + alien + malformed + disabled + held``.
    ``expected = placed + bad_pulse + lost``, when no frame is open.
    """

    received: int = 0
    placed: int = 0
    bad_pulse: int = 0
    """Placed in a frame whose pulse_id was unusable or jumped; the frame is kept and flagged."""
    duplicate: int = 0
    late: int = 0
    alien: int = 0
    malformed: int = 0
    disabled: int = 0
    """Received while the run was not enabled."""
    held: int = 0
    """Of a stream that is not yet accepted as the module's own (a restart, or another sender)."""
    expected: int = 0
    lost: int = 0
    kernel_dropped: int = 0
    """Dropped by the kernel before they were received; not part of ``received``."""


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Fate of every frame of a module. ``complete + incomplete = delivered + exhausted + abandoned``."""

    complete: int = 0
    incomplete: int = 0
    empty: int = 0
    """Frames known only from a gap in frame_index."""
    delivered: int = 0
    """Handed to the outputs."""
    exhausted: int = 0
    """Dropped because the pebble slot did not come free in time."""
    abandoned: int = 0
    """Open when the receiver was killed."""
    bad_pulse: int = 0
    resyncs: int = 0
    """Times that the stream was resynchronised to another frame_index."""
    restarts: int = 0
    """Times that the detector's count restarted, and pulse ids made of it went on from a new base."""
    outages: int = 0
    """Times without data in which frames may have been lost, but not known how many: frame_index and pulse_id disagree."""
    outage_s: float = 0.0
    """Their length, s."""


@dataclass(frozen=True, slots=True)
class OutputStats:
    """One output. ``offered = written + dropped + disabled + queued``; of the disk ``written = durable + lost_on_disk + unsynced``."""

    name: str = ""
    enabled: bool = False
    state: str = "Off"
    """Off, Idle, Writing (or Publishing), Behind (its share of the pebble is full, it drops), Failing, Full, Failed."""
    message: str = ""
    offered: int = 0
    written: int = 0
    """Frames written, or sent."""
    dropped: int = 0
    disabled: int = 0
    """Frames that came while the output was disabled, or had no subscriber."""
    queued: int = 0
    overwritten: int = 0
    """Records written where one with the same pulse_id already lay."""
    durable: int = 0
    """Of the disk: records written that a loss of power cannot take any more."""
    lost_on_disk: int = 0
    """Of the disk: records written that were lost before they were durable: a late error, or their file was removed."""
    unsynced: int = 0
    """Of the disk: records written that are neither yet."""
    bytes: int = 0
    errors: int = 0
    folder: str = ""
    free_bytes: int = 0
    subscribers: int = 0


@dataclass(slots=True)
class SinkFigures:
    """The part of OutputStats that only the output's sink knows; its thread keeps it, every thread may read it."""

    folder: str = ""
    """Or address."""
    bytes: int = 0
    overwritten: int = 0
    syncs: bool = False
    """Whether what is written becomes durable later: then it is counted below."""
    durable: int = 0
    lost_on_disk: int = 0
    free_bytes: int = 0
    subscribers: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Averages over the last second or so."""

    frames_hz: float = 0.0
    packets_hz: float = 0.0
    bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The head of every worker's snapshot."""

    worker: str = ""
    """Name of the worker: ``udp.M00``."""
    kind: str = ""
    """Kind of the worker, and so of the snapshot."""
    pid: int = 0
    time_ns: int = 0
    version: str = ""
    state: str = "Starting"
    """Starting, Failed, Stopped in the last snapshot; else what the kind says."""
    message: str = ""
    counted_since: str = ""
    """When the totals were last reset, or began."""
    totals_lost: int = 0
    """Times since then that the counters page was damaged or of another version, and the totals began at 0."""


@dataclass(frozen=True, slots=True)
class DataStatus(WorkerStatus):
    """The head of the snapshot of a worker that has frames or images."""

    pulse_id: int = 0
    """Of the last one."""
    data_ns: int = 0
    """POSIX time of it, ns; 0 when it is not known."""


@dataclass(frozen=True, slots=True)
class ReceiverStatus(DataStatus):
    """Snapshot of one UDP module receiver.

    ``state``: Starting, Idle, Receiving, Stalled, Failed.
    """

    kind: str = "receiver"
    run_state: str = "Unconfigured"
    frame_index: int = 0
    packets: PacketStats = field(default_factory=PacketStats)
    frames: FrameStats = field(default_factory=FrameStats)
    rates: Rates = field(default_factory=Rates)
    dma: DmaStats = field(default_factory=DmaStats)
    pebble: PoolStats = field(default_factory=PoolStats)
    disk: OutputStats = field(default_factory=OutputStats)
    zmq: OutputStats = field(default_factory=OutputStats)
    senders: int = 0
    """Different senders seen."""


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Fate of every PV update and of every timing event of a PvMonitor.

    ``updates = match + too_old + expired + discarded_disabled + exhausted + decode_errors + empty_updates + abandoned + held``;
    ``l1_accepts = placed + empty + timed_out + l1_exhausted + l1_refused + l1_abandoned + l1_pending``.

    Updates are counted over all PVs of the detector; with one PV ``match = placed``. Running free, the updates of the
    first PV are the events.
    """

    updates: int = 0
    match: int = 0
    """Updates that met their event and were placed in the pebble."""
    too_old: int = 0
    """Updates older than the event at hand; running free, not newer than the last one."""
    expired: int = 0
    """Updates for which no event came in time."""
    discarded_disabled: int = 0
    """Updates while the run was not enabled, or paused."""
    exhausted: int = 0
    """Updates dropped because no transition or pebble slot was free."""
    decode_errors: int = 0
    """Unknown codec, corrupt data or a type that cannot be an image."""
    empty_updates: int = 0
    """Updates without an array: unselected unions, zero sizes."""
    abandoned: int = 0
    """Updates that waited for their event when the monitor was killed."""
    held: int = 0
    """Updates staged and waiting for their event."""
    missed: int = 0
    """Images that the source sent and we never saw, by gaps in uniqueId; not part of ``updates``."""
    l1_accepts: int = 0
    placed: int = 0
    """Events in the pebble, offered to the outputs."""
    empty: int = 0
    """L1Accepts older than the update at hand: MissingData."""
    timed_out: int = 0
    l1_exhausted: int = 0
    """L1Accepts that met their update, but no pebble slot came free."""
    l1_refused: int = 0
    """L1Accepts while the run was not enabled."""
    l1_abandoned: int = 0
    """L1Accepts that waited when the monitor was killed."""
    l1_pending: int = 0
    l1_missed: int = 0
    """Events that the timing system sent and we never saw, by gaps in its event counter; beside the balance."""
    partial: int = 0
    """Of those placed: events that lack the update of some PV; its part is zero."""
    transitions: int = 0
    """Transitions done, SlowUpdates included."""
    transitions_refused: int = 0
    timing_errors: int = 0
    """Datagrams that are no timing header."""
    truncated: int = 0
    """Events that did not fit their pebble slot."""
    reconnects: int = 0
    replans: int = 0
    restarts: int = 0
    """Times that uniqueId, or the clock of the time stamps, restarted."""
    bad_timestamps: int = 0
    """Updates with a time stamp beyond the year 2262, which is taken as the latest possible; beside the balance."""


@dataclass(frozen=True, slots=True)
class PvStatus:
    """One PV of a PvMonitor; what is counted is counted over all of them, in UpdateStats."""

    name: str = ""
    """Its field in an event."""
    pv: str = ""
    """As configured."""
    client: str = ""
    """The client that serves it now: direct, p4p or ca."""
    connected: bool = False
    unique_id: int = 0
    data_ns: int = 0
    """POSIX time of its last update, ns; 0 when it is not known."""
    time_diff_ns: int = 0
    """L1Accept minus PV timestamp of its last match, ns."""
    latency_us: float = 0.0
    """PV timestamp to arrival of its last update, us."""
    message: str = ""
    """Why nothing comes, or why it cannot be used; empty when all is well."""


@dataclass(frozen=True, slots=True)
class MonitorStatus(DataStatus):
    """Snapshot of one PvMonitor.

    ``state``: Starting, Connecting, Configuring, Idle, Receiving, Stalled, Paused, Failed; Stopped in the last one.
    """

    kind: str = "monitor"
    run_state: str = "Unconfigured"
    pv: str = ""
    client: str = ""
    """The clients at work; each PV's own is in ``pvs``."""
    connected: bool = False
    """Whether all PVs are."""
    payload_bytes: int = 0
    shape: str = ""
    dtype: str = ""
    codec: str = ""
    unique_id: int = 0
    updates: UpdateStats = field(default_factory=UpdateStats)
    time_diff_ns: int = 0
    """L1Accept minus PV timestamp of the last match, ns; of several PVs the largest, whatever its sign."""
    latency_us: float = 0.0
    """PV timestamp to arrival of the last update, us; of several PVs the largest."""
    pvs: dict[str, PvStatus] = field(default_factory=dict)
    """Of several PVs each by its number, from 0, which is also its bit in an event's missing mask."""
    rates: Rates = field(default_factory=Rates)
    dma: DmaStats = field(default_factory=DmaStats)
    pebble: PoolStats = field(default_factory=PoolStats)
    transition: PoolStats = field(default_factory=PoolStats)
    disk: OutputStats = field(default_factory=OutputStats)
    zmq: OutputStats = field(default_factory=OutputStats)


@dataclass(frozen=True, slots=True)
class SyncStats:
    """Fate of every frame that the modules announced. ``received = matched + skipped + queued``."""

    received: int = 0
    matched: int = 0
    """Frames that an image was asked of."""
    skipped: int = 0
    """Frames of pulses that another module did not have, or that came late."""
    queued: int = 0
    """Frames that wait for other modules."""
    losses: int = 0
    """Times that the modules were lost and the synchronisation was restarted."""
    malformed: int = 0
    """Messages that were no notification or no frame; not part of ``received``."""
    exhausted: int = 0
    """Frames of remote modules that found no slot; not part of ``received``."""
    lost: int = 0
    """Images of parts that were lost between hosts, by their numbers; not part of ``received``."""
    missing_mask: int = 0
    """Modules that count as dead: bit m for the m-th module."""
    missing: int = 0
    """How many these are."""
    skipped_of: tuple[int, ...] = ()
    """``skipped`` of each module."""


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Fate of every pulse that was in step. ``matched = assembled + overwritten``."""

    matched: int = 0
    assembled: int = 0
    """Images offered to the streams, with or without pixels."""
    overwritten: int = 0
    """Images not made because a frame was overwritten before it was read: the assembler was too slow."""
    good: int = 0
    """Assembled with all modules and all packets."""
    filled: int = 0
    """Assembled without the modules that are missing."""
    gathered: int = 0
    """Images whose pixels were copied, because there were subscribers."""


@dataclass(frozen=True, slots=True)
class GathererStatus(DataStatus):
    """The head of the snapshot of a worker that puts images together."""

    shape: str = ""
    dtype: str = ""
    sync: SyncStats = field(default_factory=SyncStats)
    images: ImageStats = field(default_factory=ImageStats)
    pool: PoolStats = field(default_factory=PoolStats)


@dataclass(frozen=True, slots=True)
class StreamStatus(GathererStatus):
    """Snapshot of the assembler of live images.

    ``state``: Starting, Idle, Assembling, Incomplete (modules are missing), OutOfStep.
    """

    kind: str = "stream"
    frame_index: int = 0
    modules: int = 0
    rates: Rates = field(default_factory=Rates)
    full: OutputStats = field(default_factory=OutputStats)
    reduced: OutputStats = field(default_factory=OutputStats)
    reduced_pixels: int = 0
    """Messages of the reduced stream that carried pixels."""
    compressed: OutputStats = field(default_factory=OutputStats)
    """The images compressed for the full stream and other workers: ``written`` are compressed, of ``bytes``. Its subscribers are workers."""
    compressed_pixel_bytes: int = 0
    """Bytes of those images before."""
    compression_ratio: float = 0.0
    """How many times as large they were before."""
    pulse: OutputStats = field(default_factory=OutputStats)


@dataclass(frozen=True, slots=True)
class AcquisitionStats:
    """The acquisition of a worker of images, or its last one. ``taken = good + damaged + filled``."""

    number: int = 0
    """Acquisitions begun."""
    open: bool = False
    """It takes images."""
    images: int = 0
    """Images after which it is over; 0: none."""
    taken: int = 0
    good: int = 0
    damaged: int = 0
    """Images taken that are not good."""
    filled: int = 0
    """Missing images that have a place, as zeros."""
    lost: int = 0
    """Missing images that have none."""
    error: str = ""
    """Why it failed; empty while all is well."""


@dataclass(frozen=True, slots=True)
class CaptureStatus(GathererStatus):
    """Snapshot of the writer of live images to HDF5.

    ``output.offered`` counts the images of all captures; those dropped found no memory because the disk was too slow.

    ``state``: Starting, Idle, Waiting (for the first image), Capturing, Finishing, Failed.
    """

    kind: str = "hdf5"
    capturing: bool = False
    """A capture takes images, or writes those that it took."""
    file_open: bool = False
    """Its file is there, and can be followed (SWMR)."""
    file: str = ""
    """Of the present capture, or of the last."""
    captured: int = 0
    """Images in it."""
    wanted: int = 0
    """Images after which the capture ends; 0: when it is stopped."""
    filled: int = 0
    """Missing images in it, written as zeros."""
    damaged: int = 0
    """Images in it that came and are not good."""
    balance: str = ""
    """What the file of this or the last capture holds, in words."""
    attributes_missing: int = 0
    """Values of PVs that were not connected when an image was taken, in all captures."""
    acquisition: AcquisitionStats = field(default_factory=AcquisitionStats)
    compressed_elsewhere: int = 0
    """Images that were taken compressed from the stream of this host."""
    compressed_here: int = 0
    """Images that were compressed for the file alone."""
    captures: int = 0
    """Captures begun."""
    folder_exists: bool = False
    """The folder that files are made in, ``output.folder``, is there."""
    write_error: bool = False
    """The last capture could not be made, or not be written to its end."""
    write_message: str = ""
    """Why."""
    unique_id: int = 0
    """The detector's own count of the last image: uniqueId of an NTNDArray."""
    output: OutputStats = field(default_factory=OutputStats)


@dataclass(frozen=True, slots=True)
class ShownStats:
    """One of the PVs that show images."""

    clients: int = 0
    """Clients connected."""
    images: int = 0
    """Images sent to them; to all of them at once."""
    images_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class ImagesStatus(DataStatus):
    """Snapshot of the worker that shows live images as PVs. Only images that are shown are assembled, and counted.

    ``state``: Starting, Idle (no client), Waiting (nothing new to show), Showing.
    """

    kind: str = "images"
    data_s: float = 0.0
    """``data_ns`` in s: of the last image that was shown, as all that follows."""
    unique_id: int = 0
    """The detector's own count of it: uniqueId of an NTNDArray."""
    dimensions: int = 0
    size_x: int = 0
    size_y: int = 0
    size_z: int = 0
    """Colours; 0 of an image without."""
    size_0: int = 0
    """Fastest dimension."""
    size_1: int = 0
    size_2: int = 0
    dtype: str = "UInt16"
    """areaDetector's name of the pixel type."""
    color_mode: str = "Mono"
    """areaDetector's name of the color mode."""
    images: ImageStats = field(default_factory=ImageStats)
    image: ShownStats = field(default_factory=ShownStats)
    preview: ShownStats = field(default_factory=ShownStats)
    ca: ShownStats = field(default_factory=ShownStats)
    compressed_elsewhere: int = 0
    """Images that were shown as the stream of this host has compressed them."""
    compressed_here: int = 0
    """Images that were compressed for their PV alone."""
    acquisition: AcquisitionStats = field(default_factory=AcquisitionStats)
    port: int = 0
    """TCP port of the PVA server."""


@dataclass(frozen=True, slots=True)
class FunctionStats:
    """Fate of every image for a user's function. ``offered = processed + dropped + failed + lost + queued``."""

    offered: int = 0
    processed: int = 0
    """Images whose result is in the total."""
    dropped: int = 0
    """Images for which no slot was free: the function is too slow for all of them."""
    failed: int = 0
    """Images on which the function, or the adding of its result, failed."""
    lost: int = 0
    """Images whose process ended before there was a result."""
    queued: int = 0
    """Images that wait, or are at work."""
    processes: int = 0
    """Processes that run the function."""
    restarts: int = 0
    """Processes that ended by themselves, or were killed, and were started again."""
    totals_begun: int = 0
    """Totals that ended with their process, and were begun again."""
    lag_ms: float = 0.0
    """Time from the last image's being complete to its result, ms."""
    age_ms: float = 0.0
    """Time from that image's time stamp to its result, ms; 0 when the stamp is not known."""


@dataclass(frozen=True, slots=True)
class ResultStats:
    """The results that are published."""

    published: int = 0
    """Times that the results were published."""
    dropped: int = 0
    """Messages at which a subscriber's queue was found full."""
    subscribers: int = 0
    """Subscribers of the stream."""


@dataclass(frozen=True, slots=True)
class ProcessingStatus(GathererStatus):
    """Snapshot of the worker that applies a user's function to live images.

    ``state``: Starting (the function is loaded), Idle, Processing, Incomplete (modules are missing), OutOfStep.
    """

    kind: str = "process"
    function: str = ""
    """Which one, as it was given."""
    error: str = ""
    """Its first failure since the total was begun."""
    processing: FunctionStats = field(default_factory=FunctionStats)
    total: int = 0
    """Images in the total."""
    names: str = ""
    """Names of the results."""
    results: ResultStats = field(default_factory=ResultStats)
    rates: Rates = field(default_factory=Rates)
    address: str = ""
    """Of the stream of results; empty: none."""
    port: int = 0
    """TCP port of the PVA server."""


@dataclass(frozen=True, slots=True)
class BrowserStats:
    """The browsers that the page is shown in. Of the images made for them ``sent`` and ``skipped`` count each browser's own."""

    clients: int = 0
    """Browsers that show images."""
    images: int = 0
    """Images made for them."""
    images_hz: float = 0.0
    sent: int = 0
    """Images sent, summed over the browsers."""
    skipped: int = 0
    """Images that browsers did not get because they had not yet taken the one before."""
    requests: int = 0
    """Requests answered: the page, its status, metrics, pictures."""


@dataclass(frozen=True, slots=True)
class WebStatus(DataStatus):
    """Snapshot of the worker that serves the page. Only images that are shown are assembled, and counted.

    ``state``: Starting, Idle (no browser shows images), Waiting (nothing new to show), Showing.
    """

    kind: str = "web"
    images: ImageStats = field(default_factory=ImageStats)
    browsers: BrowserStats = field(default_factory=BrowserStats)
    address: str = ""
    """Of the page."""
    port: int = 0


@dataclass(frozen=True, slots=True)
class LimitsShown:
    """The limits of the retention in force; 0: none."""

    size_gib: float = 0.0
    hours: float = 0.0
    free_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class RetentionStats:
    """What the keeper did and sees."""

    state: str = "Off"
    """Off (no limits), Idle (they are met), Deleting, Blocked (they cannot be met), Failing."""
    files: int = 0
    """Data files that the server wrote, and may delete."""
    kept_bytes: int = 0
    """On disk, in these and their sidecars."""
    deleted_files: int = 0
    deleted_bytes: int = 0
    free_bytes: int = 0
    """Free space of the fullest file system, bytes."""
    oldest_hours: float = 0.0
    """Age of the oldest file, hours."""
    oldest_pulse: int = 0
    """Pulse id that the oldest file begins with."""
    errors: int = 0
    message: str = ""
    """What stands in the way of the limits; empty when they are met."""
    last_action: str = ""
    """What was deleted last, and when."""


@dataclass(frozen=True, slots=True)
class KeeperStatus(WorkerStatus):
    """Snapshot of the worker that keeps a host's disks within limits.

    ``state``: Starting, Failed, and those of ``RetentionStats``.
    """

    kind: str = "keeper"
    keep: LimitsShown = field(default_factory=LimitsShown)
    retention: RetentionStats = field(default_factory=RetentionStats)


def to_json(status: Any) -> bytes:
    """Return a snapshot as JSON."""
    return orjson.dumps(status)


def flat(status: Any, prefix: str = "") -> dict[str, Any]:
    """Return a snapshot, or its JSON form as a dict, as a dict by dotted names: ``packets.lost``."""
    tree = cast("dict[str, Any]", status) if isinstance(status, dict) else dataclasses.asdict(status)
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{name}."))
        else:
            out[f"{prefix}{name}"] = value
    return out
