"""The head of an image, made from the heads of its frames, and the one rule for a good image. Pure.

An image is good when every module is there, with every packet, all of one trigger (``frame_index``) and of one recording
(``daq_rec``), and no damage says that pixels are wrong. Reader, streams, live capture, HDF5 files and ``verify`` all ask here.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.frame import FRAME_HEAD, MISSING_MASK_BYTES, Damage, FrameHead

SPOILS: Final = (
    Damage.TRUNCATED
    | Damage.OUT_OF_SYNCH
    | Damage.CORRUPTED
    | Damage.DROPPED_CONTRIBUTION
    | Damage.MISSING_DATA
    | Damage.TIMED_OUT
)
"""Damage that says that pixels are wrong, missing or of another event. A late frame, or one whose pulse_id had to be
replaced, has all its pixels: OUT_OF_ORDER and BAD_PULSE do not spoil an image."""

IMAGE_HEAD: Final = np.dtype([("pulse_id", "<u8"), ("frame_index", "<u8"), ("daq_rec", "<u8"), ("is_good_frame", "u1")])
"""Images in an array: the columns of an HDF5 file."""


class ImageHead(NamedTuple):
    """What is known of one image beside its pixels."""

    pulse_id: int
    frame_index: int = 0
    """Of the first module that is there, as ``daq_rec``; 0 when none is."""
    daq_rec: int = 0
    is_good_frame: bool = False
    present: int = 0
    """Mask of the modules that are there: bit m for module m."""
    timestamp_ns: int = 0
    """POSIX time of the first module that is there; 0 when it is not known."""
    packets_missing: int = 0
    """Packets missing in all modules, those of modules that are not there included."""
    damage: int = 0
    """Damage of all frames together."""
    missing: tuple[bytes, ...] = ()
    """Missing-packet mask of each module (see MISSING_MASK_BYTES); empty when no packet is missing."""

    @property
    def unique_id(self) -> int:
        """The detector's own count of triggers, as far as it fits into areaDetector's uniqueId: 31 bits, without the sign."""
        return self.frame_index & 0x7FFF_FFFF


def is_good(frames: Sequence[FrameHead | None]) -> bool:
    """Return whether an image is good; ``frames`` has one head for each module, None for one that is missing."""
    first = frames[0]
    if first is None:
        return False
    for frame in frames:
        if (
            frame is None
            or frame.n_recv_packets < frame.expected_packets
            or frame.frame_index != first.frame_index
            or frame.daq_rec != first.daq_rec
            or (frame.damage and frame.damage & SPOILS)
        ):
            return False
    return True


def image_head(pulse_id: int, frames: Sequence[FrameHead | None]) -> ImageHead:
    """Return the head of an image; ``frames`` as for ``is_good``."""
    present = damage = 0
    for m, frame in enumerate(frames):
        if frame:
            present |= 1 << m
            if frame.damage:
                damage |= int(frame.damage)
    first = next(filter(None, frames), None)
    if first is None:
        return ImageHead(pulse_id)
    good = is_good(frames)
    head = ImageHead(pulse_id, first.frame_index, first.daq_rec, good, present, first.timestamp_ns, damage=damage)
    if head.is_good_frame:
        return head
    expected = first.expected_packets
    packets_missing = sum(max(0, f.expected_packets - f.n_recv_packets) if f else expected for f in frames)
    if not packets_missing:
        return head
    whole, none = bytes(MISSING_MASK_BYTES), ((1 << expected) - 1).to_bytes(MISSING_MASK_BYTES, "little")
    return head._replace(
        packets_missing=packets_missing,
        missing=tuple((frame.missing or whole) if frame else none for frame in frames),
    )


def joined_head(pulse_id: int, parts: Sequence[ImageHead | None], missing_packets: Sequence[int]) -> ImageHead:
    """Return the head of an image from those of its parts, None for one that is missing.

    ``present`` of each part is a mask of the modules of the whole image. ``missing_packets`` are what each part lacks when it
    is missing. The masks of single packets are not kept.
    """
    there = [part for part in parts if part and part.present]
    if not there:
        return ImageHead(pulse_id, packets_missing=sum(missing_packets))
    first = min(there, key=lambda part: part.present & -part.present)
    damage = present = 0
    for part in there:
        damage |= part.damage
        present |= part.present
    trigger = first.frame_index, first.daq_rec
    return ImageHead(
        pulse_id,
        *trigger,
        is_good_frame=all(
            part and part.is_good_frame and (part.frame_index, part.daq_rec) == trigger for part in parts
        ),
        present=present,
        timestamp_ns=first.timestamp_ns,
        packets_missing=sum(
            part.packets_missing if part else lacks for part, lacks in zip(parts, missing_packets, strict=True)
        ),
        damage=damage,
    )


def image_heads(pulses: np.ndarray, frames: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return IMAGE_HEAD[n] of many images, by the same rules.

    ``pulses`` is uint64[n], ``frames`` FRAME_HEAD[n, modules], and ``held`` bool[n, modules] says which of them are there.
    """
    assert frames.dtype == FRAME_HEAD
    heads = np.zeros(len(pulses), IMAGE_HEAD)
    heads["pulse_id"] = pulses
    first = frames[np.arange(len(pulses)), held.argmax(axis=1)]
    there = held.any(axis=1)
    good = held & (frames["n_recv_packets"] >= frames["expected_packets"]) & (frames["damage"] & int(SPOILS) == 0)
    for name in ("frame_index", "daq_rec"):
        heads[name] = np.where(there, first[name], 0)
        good &= frames[name] == frames[name][:, :1]
    heads["is_good_frame"] = good.all(axis=1)
    return heads
