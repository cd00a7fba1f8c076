import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.frame import FRAME_HEAD, MISSING_MASK_BYTES, Damage, FrameHead
from detectors.image_head import IMAGE_HEAD, ImageHead, image_head, image_heads, is_good, joined_head

WHOLE = FrameHead(7, 70, 3, 128, 0, expected_packets=128)

heads = st.builds(
    FrameHead,
    pulse_id=st.just(7),
    frame_index=st.sampled_from([70, 70, 70, 71]),
    daq_rec=st.sampled_from([3, 3, 3, 4]),
    n_recv_packets=st.sampled_from([128, 128, 128, 127]),
    module_id=st.integers(0, 9),
    damage=st.sampled_from([Damage.NONE, Damage.NONE, *Damage]),
    timestamp_ns=st.just(0),
    detector_time=st.integers(0, 2**64 - 1),
    expected_packets=st.just(128),
)
modules = st.lists(st.just(WHOLE) | heads | st.none(), min_size=3, max_size=3)


def test_whole_frames_of_one_trigger_make_a_good_image():
    assert is_good([WHOLE, WHOLE._replace(module_id=1)])
    assert image_head(7, [WHOLE, WHOLE]) == ImageHead(7, 70, 3, True, 0b11)


@pytest.mark.parametrize(
    "other",
    [
        None,
        WHOLE._replace(frame_index=71),
        WHOLE._replace(daq_rec=4),
        WHOLE._replace(n_recv_packets=127),
        *(
            WHOLE._replace(damage=d)
            for d in (Damage.TRUNCATED, Damage.CORRUPTED, Damage.OUT_OF_SYNCH | Damage.BAD_PULSE)
        ),
    ],
)
def test_one_frame_that_is_not_as_it_should_be_spoils_the_image(other):
    assert not is_good([WHOLE, other])
    assert not is_good([other, WHOLE])


@pytest.mark.parametrize("damage", [Damage.OUT_OF_ORDER, Damage.BAD_PULSE])
def test_a_late_frame_or_a_replaced_pulse_id_has_all_its_pixels(damage):
    assert is_good([WHOLE, WHOLE._replace(damage=damage)])


def test_an_image_without_frames_has_only_its_pulse():
    assert image_head(7, [None, None]) == ImageHead(7)


@given(st.lists(modules, min_size=1, max_size=20))
def test_many_images_at_once_follow_the_same_rules(images):
    frames = np.zeros((len(images), 3), FRAME_HEAD)
    held = np.array([[frame is not None for frame in image] for image in images])
    for i, image in enumerate(images):
        for m, frame in enumerate(image):
            if frame:
                frames[i, m] = (*frame[:-1], np.zeros(MISSING_MASK_BYTES, np.uint8))
    pulses = np.arange(len(images), dtype=np.uint64)
    found = image_heads(pulses, frames, held)
    assert found.dtype == IMAGE_HEAD
    assert found.tolist() == [image_head(i, image)[:4] for i, image in enumerate(images)]
    assert IMAGE_HEAD.names == ImageHead._fields[:4]


def test_the_unique_id_is_the_frame_number_in_31_bits():
    assert ImageHead(pulse_id=9, frame_index=5).unique_id == 5
    assert ImageHead(pulse_id=9, frame_index=(1 << 40) + (1 << 31) + 3).unique_id == 3


@given(
    st.lists(st.just(WHOLE) | heads | st.none(), min_size=4, max_size=4), st.permutations(range(4)), st.integers(1, 3)
)
def test_the_head_of_joined_parts_is_that_of_all_their_modules(frames, modules, cut):
    parts = [sorted(modules[:cut]), sorted(modules[cut:])]
    found: list[ImageHead | None] = []
    for own in parts:
        head = image_head(7, [frames[m] for m in own])
        present = sum(1 << m for i, m in enumerate(own) if head.present >> i & 1)
        found.append(head._replace(present=present) if head.present else None)
    whole = image_head(7, frames)
    joined = joined_head(7, found, [128 * len(own) for own in parts])
    if whole.present:
        assert joined == whole._replace(missing=())
    else:
        assert joined == ImageHead(7, packets_missing=512)
