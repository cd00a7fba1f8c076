import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.buffer.layout import LAST_PULSE
from detectors.errors import BufferReadError, ConfigError
from detectors.outputs.hdf5.selection import PulseRange, select
from tests.unit.outputs.hdf5.conftest import START


@given(st.integers(0, 10**6), st.integers(0, 5000), st.integers(1, 700))
def test_a_range_is_what_range_says(start, length, step):
    pulses = PulseRange(start, start + length, step)
    naive = list(range(start, start + length + 1, step))
    assert len(pulses) == len(naive)
    assert pulses.within(0, LAST_PULSE).tolist() == naive
    middle = start + length // 2
    assert pulses.within(0, middle).tolist() + pulses.within(middle + 1, LAST_PULSE).tolist() == naive


@given(st.integers(0, 10**6), st.integers(0, 500), st.integers(1, 70), st.integers(1, 20))
def test_parts_join_to_the_range(start, length, step, count):
    pulses = PulseRange(start, start + length, step)
    parts = list(pulses.parts(count))
    assert len(parts) == min(count, len(pulses))
    joined = [p for part in parts for p in part.within(0, LAST_PULSE).tolist()]
    assert joined == pulses.within(0, LAST_PULSE).tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("request_", "messages"),
    [
        ((5, 4, 1), ["stop: found 4, expected 5"]),
        ((-1, 4, 0), ["start: found -1", "step: found 0"]),
        ((0, 2**63, 1), ["stop: found 9223372036854775808"]),
    ],
)
def test_wrong_requests_name_every_mistake(request_, messages):
    with pytest.raises(ConfigError) as error:
        PulseRange(*request_)
    assert len(error.value.problems) == len(messages)
    for problem, message in zip(error.value.problems, messages, strict=True):
        assert problem.startswith(message)


@pytest.mark.parametrize(("stop", "last"), [(START + 9, START + 9), (START + 11, START + 9), (START + 12, START + 12)])
def test_a_stop_that_the_steps_do_not_reach_is_not_included(reader, stop, last):
    assert select(reader, PulseRange(START, stop, 3), "skip").pulses[-1] == last


@pytest.mark.parametrize("missing", ["skip", "fill"])
@pytest.mark.parametrize("step", [1, 3])
def test_what_is_selected_agrees_with_the_reader(reader, missing, step):
    pulses = PulseRange(START - 5, START + 40, step)
    found = select(reader, pulses, missing)
    wanted = []
    for pulse_id in range(START - 5, START + 41, step):
        try:
            image = reader.read_image(pulse_id, allow_missing=True)
        except BufferReadError:
            if missing == "fill":
                wanted.append(((pulse_id, 0, 0, 0), [False, False]))
            continue
        present = [frame is not None for frame in image.frames]
        wanted.append((reader.image_head(image)[:4], present))
    assert found.heads.tolist() == [w[0] for w in wanted]
    assert found.present.tolist() == [w[1] for w in wanted]


@pytest.mark.parametrize("offset", [9, 17])
def test_an_image_of_two_triggers_or_recordings_is_not_good(raw, reader, offset):
    path = raw.path("M01", START + 1)
    raw.poke(path, (START + 1) % 1000 * raw.record_bytes + offset, (77).to_bytes(8, "little"))
    found = select(reader, PulseRange(START, START + 2), "skip")
    assert found.heads["is_good_frame"].tolist() == [1, 0, 1]


def test_a_range_far_longer_than_the_buffer_is_no_burden(reader):
    assert len(select(reader, PulseRange(0, LAST_PULSE), "skip")) == 29


def test_nothing_found_tells_what_there_is(reader):
    with pytest.raises(BufferReadError, match=f"holds no pulse of 5 to 9 .*M00 holds {START} to {START + 29}"):
        select(reader, PulseRange(5, 9), "skip")


def test_a_torn_record_is_named(raw, reader):
    path = raw.path("M01", START + 2)
    raw.poke(path, (START + 2) % 1000 * raw.record_bytes + 1, np.uint64(99).tobytes())
    with pytest.raises(BufferReadError, match=f"torn record of pulse {START + 2}"):
        select(reader, PulseRange(START, START + 5), "skip")
    assert len(select(reader, PulseRange(START + 3, START + 5), "skip")) == 2
