"""Which images an acquisition takes, against a model; and how it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.assembly.acquisition import LONGEST_FILL, Acquisition, AcquisitionRules, OnLoss
from detectors.errors import ConfigError
from detectors.image_head import ImageHead


def head(pulse_id: int, *, good: bool = True) -> ImageHead:
    return ImageHead(pulse_id, is_good_frame=good, present=1, timestamp_ns=10)


def run(acquisition: Acquisition, images: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return what has a place, in order: each pulse with ``good``, ``damaged`` or ``filled``."""
    found: list[tuple[int, str]] = []
    for pulse_id, kind in images:
        found += [(missing, "filled") for missing in acquisition.missing(pulse_id)]
        if not acquisition.wants(pulse_id):
            continue
        came = None if kind == "lost" else head(pulse_id, good=kind == "good")
        if acquisition.settle(pulse_id, came, 10, 0.0):
            found.append((pulse_id, "filled" if came is None else kind))
    return found


@given(
    st.dictionaries(st.integers(1, 60), st.sampled_from(["good", "good", "damaged", "lost"]), max_size=40),
    st.sampled_from(["fill", "fail", "skip"]),
    st.integers(0, 15),
    st.integers(1, 3),
)
def test_images_are_those_of_the_model(kinds: dict[int, str], on_loss: OnLoss, images: int, step: int) -> None:
    stream = [(pulse_id * step, kinds[pulse_id]) for pulse_id in sorted(kinds)]
    acquisition = Acquisition(AcquisitionRules(images, on_loss), step)
    found = run(acquisition, stream)

    by_pulse = dict(stream)
    every = list(range(min(by_pulse), max(by_pulse) + 1, step)) if by_pulse else []
    expected: list[tuple[int, str]] = []
    lost, failed = 0, False
    for pulse_id in every:
        if failed or (images and len(expected) == images):
            break
        kind = by_pulse.get(pulse_id, "lost")
        if kind != "lost":
            expected.append((pulse_id, kind))
            failed = kind == "damaged" and on_loss == "fail"
        elif on_loss == "fill":
            expected.append((pulse_id, "filled"))
        elif on_loss == "fail":
            failed = True
        else:
            lost += 1
    assert found == expected
    assert acquisition.taken == len(found) == acquisition.good + acquisition.damaged + acquisition.filled
    assert bool(acquisition.error) == failed
    assert acquisition.open == (not failed and not (images and len(found) == images))
    if on_loss == "skip":
        assert acquisition.lost == lost


def test_images_of_an_earlier_run_are_not_taken() -> None:
    acquisition = Acquisition(AcquisitionRules(2), since_ns=100)
    assert not acquisition.settle(7, head(7), 99, 0.0)
    assert acquisition.settle(9, head(9), 100, 0.0)
    assert list(acquisition.missing(10)) == []
    assert acquisition.settle(10, head(10), 101, 0.0)
    assert not acquisition.open
    assert acquisition.taken == 2


def test_a_jump_is_counted_and_not_filled() -> None:
    acquisition = Acquisition(AcquisitionRules())
    assert acquisition.settle(5, head(5), 0, 0.0)
    assert not acquisition.missing(10**9)
    assert acquisition.lost == 10**9 - 6 > LONGEST_FILL
    assert acquisition.settle(10**9, head(10**9), 0, 0.0)


def test_a_jump_fails_where_losses_do() -> None:
    acquisition = Acquisition(AcquisitionRules(on_loss="fail"))
    assert acquisition.settle(5, head(5), 0, 0.0)
    assert not acquisition.missing(10**9)
    assert "jumped from pulse 5 to 1000000000" in acquisition.error
    assert not acquisition.wants(10**9)


def test_the_rest_is_filled_when_its_time_is_over() -> None:
    acquisition = Acquisition(AcquisitionRules(4, timeout_s=5.0), pulse_id_step=2, now_s=100.0)
    assert acquisition.settle(10, head(10), 0, 102.0)
    assert not acquisition.expire(106.9)
    assert list(acquisition.expire(107.0)) == [12, 14, 16]
    assert (acquisition.taken, acquisition.filled, acquisition.open, acquisition.error) == (4, 3, False, "")


@pytest.mark.parametrize("on_loss", ["fail", "skip"])
def test_the_rest_is_lost_when_its_time_is_over(on_loss: OnLoss) -> None:
    acquisition = Acquisition(AcquisitionRules(4, on_loss, 5.0), now_s=100.0)
    assert acquisition.settle(10, head(10), 0, 102.0)
    assert not acquisition.expire(107.0)
    assert acquisition.error == "3 of 4 images did not come within 5 s"
    assert (acquisition.lost, acquisition.open) == (3, False)


def test_an_acquisition_to_which_nothing_comes_fails() -> None:
    acquisition = Acquisition(AcquisitionRules(4, timeout_s=5.0), now_s=100.0)
    assert not acquisition.expire(105.0)
    assert acquisition.error == "4 of 4 images did not come within 5 s"


def test_images_are_missing_from_where_they_were_expected() -> None:
    acquisition = Acquisition(AcquisitionRules())
    acquisition.expect(5)
    assert list(acquisition.missing(8)) == [5, 6, 7]


def test_wrong_rules_name_every_mistake() -> None:
    with pytest.raises(ConfigError) as error:
        AcquisitionRules(-1, "drop", -1.0)  # type: ignore[arg-type]
    assert [p.split(":")[0] for p in error.value.problems] == ["images", "on_loss", "timeout_s"]
