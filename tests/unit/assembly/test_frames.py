"""Every fate of packets and frames, one test each."""

import math

import numpy as np
import pytest

from detectors.assembly.frames import ACCOUNT
from detectors.frame import Damage
from detectors.stats import ReceiverStatus
from detectors.totals import counters, settle
from tests.unit.assembly.packets import MODULE, Bench, fill_block


def rows_of(bench: Bench, index: int) -> list[list[int]]:
    return next(done.rows for done in bench.slots.done if done.index == index)


def test_a_whole_frame_is_handed_on_at_once():
    b = Bench()
    b.feed(b.frame(7))
    assert b.order == [7]
    assert b.packets.placed == b.packets.received == b.packets.expected == 8
    assert b.frames.complete == b.frames.delivered == 1
    assert rows_of(b, 7) == [[p.fill] * 8 for p in b.frame(7)]


@pytest.mark.parametrize("batch", [1, 3, 8, 11, 16])
def test_batches_may_cross_frames_anywhere(batch: int):
    b = Bench()
    b.feed(*(b.frame(i) for i in range(1, 8)), batch=batch)
    assert b.order == [1, 2, 3, 4, 5, 6, 7]
    assert b.frames.complete == 7
    assert b.packets.placed == 56


def test_frame_carries_pulse_daq_rec_and_mask():
    b = Bench()
    b.feed([p.but(daq_rec=99) for p in b.frame(3, pulse=4242)][:5])
    b.pause(1)
    (done,) = b.slots.done
    assert (done.pulse_id, done.daq_rec, done.count) == (4242, 99, 5)
    assert done.mask == [True] * 5 + [False] * 3
    assert done.damage == Damage.MISSING_DATA


def test_lost_packets_are_counted_and_their_pixels_are_zero():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:2] + one[5:], b.frame(2))
    assert b.order == [1, 2]
    assert (b.packets.lost, b.packets.expected) == (3, 16)
    assert (b.frames.complete, b.frames.incomplete) == (1, 1)
    assert rows_of(b, 1)[2:5] == [[0] * 8] * 3
    assert rows_of(b, 1)[5] == [one[5].fill] * 8


def test_duplicate_in_an_open_frame():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:4], [p.but(fill=200) for p in one[2:6]], one[6:])
    assert b.packets.duplicate == 2
    assert b.frames.complete == 1
    assert [row[0] for row in rows_of(b, 1)] == [p.fill for p in one[:4]] + [200, 200] + [p.fill for p in one[6:]]


def test_duplicate_of_a_closed_frame():
    b = Bench()
    b.feed(b.frame(1), b.frame(2), b.frame(1)[3:5])
    assert (b.packets.duplicate, b.packets.late) == (2, 0)


def test_duplicate_of_a_frame_that_landed_whole():
    b = Bench(ahead=4)
    b.feed(*(b.frame(i) for i in range(1, 8)), batch=16)
    b.feed(b.frame(6)[3:5], b.frame(7)[:3])
    assert (b.packets.duplicate, b.packets.held, b.packets.late) == (5, 0, 0)


def test_duplicate_of_a_frame_long_ago():
    b = Bench(batch=64, ahead=4)
    b.feed(*(b.frame(i) for i in range(1, 61)), b.frame(60 - 40)[:2])
    assert (b.packets.duplicate, b.packets.held, b.packets.alien) == (2, 0, 0)


def test_late_packet_of_a_closed_frame():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:6], b.frame(2), one[5:])
    assert (b.packets.late, b.packets.duplicate, b.packets.lost) == (2, 1, 2)
    assert b.order == [1, 2]


def test_late_packet_of_an_empty_frame():
    b = Bench()
    b.feed(b.frame(1), b.frame(5), b.frame(3)[:2])
    assert (b.packets.late, b.frames.empty) == (2, 3)


def test_alien_by_source_and_by_module():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:3], [one[3].but(foreign=True), one[3].but(module=MODULE + 1)], one[3:])
    assert b.packets.alien == 2
    assert b.frames.complete == 1


@pytest.mark.parametrize("header", ["jungfrau", "sls", "sls-big-endian"])
@pytest.mark.parametrize(
    ("expected", "stranger"),
    [
        ({"column": 258}, {"column": 1}),
        ({"row": 0x0102}, {"row": 0x0201}),
        ({"expect_module_id": 9}, {"module": MODULE}),
    ],
)
def test_two_ports_of_one_module_differ_in_place(expected: dict[str, int], stranger: dict[str, int], header: str):
    b = Bench(header=header, **{"expect_module_id": None, **expected})
    ours = {
        "module": expected.get("expect_module_id", 77),
        **{k: v for k, v in expected.items() if k in {"row", "column"}},
    }
    one = [p.but(**ours) for p in b.frame(1)]
    b.feed([p for pair in zip(one, [p.but(**stranger) for p in one], strict=True) for p in pair])
    b.feed([p.but(**ours) for p in b.frame(2)])
    assert b.order == [1, 2]
    assert (b.packets.alien, b.packets.placed) == (8, 16)


def test_what_was_found_and_what_was_expected_is_said(caplog: pytest.LogCaptureFixture):
    b = Bench(expect_module_id=3, column=1)
    b.feed([p.but(module=3, row=2, column=0) for p in b.frame(1)])
    assert "found a packet of moduleID 3, column 0, expected moduleID 3, column 1: alien" in caplog.text


def test_without_expectations_any_module_is_taken():
    b = Bench(expect_module_id=None)
    b.feed([p.but(module=9, row=1) for p in b.frame(1)])
    assert b.order == [1]
    assert b.packets.alien == 0


@pytest.mark.parametrize("length", [0, 1, 47, 48, 55, 57, 60, 9000])
def test_malformed_by_length(length: int):
    b = Bench()
    one = b.frame(1)
    b.feed(one[:3], [one[3].but(length=length)], one[3:])
    assert b.packets.malformed == 1
    assert b.frames.complete == 1


@pytest.mark.parametrize("number", [8, 9, 128, 2**31, 2**32 - 1])
def test_malformed_by_packet_number(number: int):
    b = Bench()
    b.feed(b.frame(1), [b.frame(2)[0].but(number=number)], b.frame(2))
    assert b.packets.malformed == 1
    assert b.order == [1, 2]


@pytest.mark.parametrize("pulse", [math.nan, math.inf, -math.inf, -5.0, 0.0, 0.5, 1002.5, 2.0**53, 1e300, 5e-324])
def test_unusable_pulse_keeps_the_frame_under_the_pulse_it_must_have(pulse: float):
    b = Bench(pulse_id_step=3)
    b.feed(b.frame(1, pulse=1000), b.frame(2, pulse=pulse), b.frame(3, pulse=1006))
    assert [(d.index, d.pulse_id, d.flagged) for d in b.slots.done] == [
        (1, 1000, False),
        (2, 1003, True),
        (3, 1006, False),
    ]
    assert b.slots.done[1].damage == Damage.BAD_PULSE
    assert (b.packets.bad_pulse, b.packets.placed, b.frames.bad_pulse) == (8, 16, 1)
    assert b.frames.complete == 3


def test_unusable_pulse_on_one_packet_only():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:4], [one[4].but(pulse=math.nan)], one[5:])
    assert (b.packets.bad_pulse, b.packets.placed) == (1, 7)
    assert b.slots.done[0].flagged
    assert b.slots.done[0].pulse_id == 1001


def test_unusable_pulse_at_the_very_beginning():
    b = Bench()
    b.feed(b.frame(6, pulse=math.nan), b.frame(7, pulse=500))
    assert [(d.pulse_id, d.flagged) for d in b.slots.done] == [(6, True), (500, False)]


def test_pulse_jump_far_forward_is_flagged_once():
    b = Bench(max_pulse_jump=1000)
    b.feed(b.frame(1, 10), b.frame(2, 11), b.frame(3, 10**9), b.frame(4, 10**9 + 1))
    assert [(d.pulse_id, d.flagged) for d in b.slots.done] == [
        (10, False),
        (11, False),
        (10**9, True),
        (10**9 + 1, False),
    ]
    assert b.frames.complete == 4


def test_pulse_jump_backward_is_flagged_and_kept():
    b = Bench()
    b.feed(b.frame(1, 100), b.frame(2, 50), b.frame(3, 51))
    assert [(d.pulse_id, d.flagged) for d in b.slots.done] == [(100, False), (50, True), (51, False)]


def test_integer_pulses_take_all_of_63_bits():
    b = Bench(header="sls-big-endian", dtype="uint32")
    b.feed(b.frame(1, 2**60), b.frame(2, 2**60 + 1), b.frame(3, 0))
    assert [(d.pulse_id, d.flagged) for d in b.slots.done] == [
        (2**60, False),
        (2**60 + 1, False),
        (2**60 + 2, True),
    ]
    assert rows_of(b, 2) == [[p.fill] * 16 for p in b.frame(2)]


def test_disabled_while_the_gate_is_closed():
    b = Bench()
    b.feed(b.frame(1))
    b.close_gate()
    b.feed(b.frame(2), [b.frame(3)[0].but(length=3)])
    assert b.packets.disabled == 9
    assert b.order == [1]


def test_first_and_last_frame_of_a_run_are_whole():
    b = Bench()
    two, five, six = b.frame(2), b.frame(5), b.frame(6)
    b.feed(b.frame(1), two[:3])
    b.close_gate()
    b.feed(two[3:], b.frame(3), b.frame(4), five[:5])
    b.open_gate()
    b.feed(five[5:], six, b.frame(7))
    assert b.order == [1, 2, 6, 7]
    assert (b.frames.complete, b.frames.incomplete, b.frames.empty) == (4, 0, 0)
    assert b.packets.lost == 0
    assert b.packets.disabled == 24


def test_gate_reopened_at_once_does_not_tear_a_frame_in_two():
    b = Bench()
    one = b.frame(1)
    b.feed(one[:3])
    b.close_gate()
    b.open_gate()
    b.feed(one[3:], b.frame(2))
    assert b.order == [1, 2]
    assert b.slots.done[0].count == 3
    assert b.packets.disabled == 5


def test_numbers_that_passed_while_disabled_can_be_used_again():
    b = Bench()
    b.close_gate()
    b.feed(b.frame(50))
    b.open_gate()
    b.feed(*(b.frame(i) for i in range(45, 55)))
    assert b.order == list(range(45, 55))


def test_numbers_that_passed_while_disabled_can_be_used_again_after_a_restart():
    b = Bench(ahead=4)
    b.close_gate()
    b.feed(b.frame(50))
    b.open_gate()
    b.feed(*(b.frame(i) for i in range(51, 61)))
    b.feed(*(b.frame(i, pulse=9000 + i) for i in range(49, 53)))
    assert b.order == [*range(51, 61), 49, 50, 51, 52]
    assert b.packets.disabled == 8


def test_reordering_across_a_frame_boundary_is_repaired():
    b = Bench()
    one, two, three = b.frame(1), b.frame(2), b.frame(3)
    b.feed(one[:6], two[:3], one[6:], two[3:7], three[:2], two[7:], three[2:])
    assert b.order == [1, 2, 3]
    assert b.frames.complete == 3
    assert b.packets.late == b.packets.lost == 0


def test_frame_that_begins_before_an_older_one():
    b = Bench()
    b.feed(b.frame(1), b.frame(3)[:4], b.frame(2), b.frame(3)[4:])
    assert b.order == [1, 2, 3]
    assert b.frames.empty == 0


def test_reordering_before_the_first_frame():
    b = Bench()
    b.feed(b.frame(6)[:2], b.frame(5), b.frame(6)[2:])
    assert b.order == [5, 6]
    assert b.frames.complete == 2


def test_without_window_a_later_frame_closes_at_once():
    b = Bench(reorder_window=0)
    one = b.frame(1)
    b.feed(one[:7], b.frame(2)[:1], one[7:], b.frame(2)[1:])
    assert b.order == [1, 2]
    assert (b.packets.late, b.packets.lost) == (1, 1)


def test_wide_window_waits_for_all_of_it():
    b = Bench(reorder_window=3)
    one = b.frame(1)
    b.feed(one[:7], b.frame(2), b.frame(3))
    assert b.order == []
    b.feed(one[7:])
    assert b.order == [1, 2, 3]
    b.feed(b.frame(4)[1:], b.frame(5), b.frame(6))
    assert b.order == [1, 2, 3]
    b.feed(b.frame(7))
    assert b.order == [1, 2, 3, 4, 5, 6, 7]
    assert b.packets.lost == 1


def test_stream_that_stops_mid_frame_is_flushed():
    b = Bench(flush_timeout_s=0.1)
    b.feed(b.frame(1), b.frame(2)[:3])
    b.pause(0.09)
    assert b.order == [1]
    b.pause(0.02)
    assert b.order == [1, 2]
    b.feed(b.frame(2)[3:4])
    assert b.packets.late == 1


def test_garbage_does_not_keep_a_frame_open():
    b = Bench(flush_timeout_s=0.1)
    b.feed(b.frame(1)[:3])
    for _ in range(5):
        b.now += 0.05
        b.feed([b.frame(1)[0].but(module=99)])
        b.pause(0)
    assert b.order == [1]


def test_gap_within_the_limit_counts_empty_frames():
    b = Bench(max_frame_gap=100)
    b.feed(b.frame(1), b.frame(50), b.frame(51))
    assert b.order == [1, 50, 51]
    assert (b.frames.empty, b.frames.resyncs) == (48, 0)
    assert b.packets.lost == 48 * 8
    assert b.packets.expected == 51 * 8


def test_gap_with_another_pulse_step_is_accepted_when_it_goes_on():
    b = Bench(max_frame_gap=100)
    b.feed(b.frame(1, 1000), b.frame(50, 1196), b.frame(51, 1200)[:1])
    assert b.order == [1, 50]
    assert (b.frames.empty, b.packets.held, b.packets.alien) == (48, 0, 0)


def test_one_wild_packet_moves_nothing():
    b = Bench()
    for wild in (2, 40, 5000, 2**63, 2**64 - 1):
        b.feed(b.frame(1), [b.frame(wild, pulse=7.0)[3]])
        b.feed(*(b.frame(i) for i in range(2, 5)))
        b.flush()
        b.open_gate()
        done, b.slots.done = b.slots.done, []
        assert [d.index for d in done if d.count == 8] == [1, 2, 3, 4], wild
    assert b.packets.lost == 0
    assert b.packets.alien == 5


def test_wild_packet_that_looks_like_the_next_frame_costs_no_good_frame():
    b = Bench()
    b.feed(b.frame(1), [b.frame(2, pulse=1003)[3]], *(b.frame(i) for i in range(2, 6)))
    assert [(d.index, d.pulse_id) for d in b.slots.done if d.count == 8] == [(i, 1000 + i) for i in range(1, 6)]
    assert b.frames.incomplete == 1


def test_single_frame_with_a_jumping_pulse_is_kept():
    b = Bench()
    b.feed(b.frame(1), b.frame(2, pulse=10**9), b.frame(3), b.frame(4, pulse=5), b.frame(5))
    assert [(d.index, d.pulse_id) for d in b.slots.done] == [(1, 1001), (2, 10**9), (3, 1003), (4, 5), (5, 1005)]
    assert b.frames.complete == 5
    assert b.packets.alien == 0


def test_pulse_that_stands_still_loses_nothing():
    b = Bench()
    b.feed(*(b.frame(i, pulse=77) for i in range(1, 11)))
    b.flush()
    assert b.order == list(range(1, 11))
    assert [d.flagged for d in b.slots.done] == [False] + [True] * 9
    assert b.frames.complete == 10


def test_restart_counts_from_one_and_loses_nothing():
    b = Bench()
    b.feed(*(b.frame(i) for i in range(100, 103)), b.frame(103)[:2])
    b.feed(*(b.frame(i, pulse=5000 + i) for i in range(1, 6)))
    assert b.order == [100, 101, 102, 103, 1, 2, 3, 4, 5]
    assert (b.frames.resyncs, b.frames.complete, b.frames.incomplete, b.frames.empty) == (1, 8, 1, 0)
    assert (b.packets.alien, b.packets.held, b.packets.lost) == (0, 0, 6)
    assert rows_of(b, 1) == [[p.fill] * 8 for p in b.frame(1)]


def test_restart_soon_after_the_start_differs_from_duplicates_by_its_pulses():
    b = Bench()
    b.feed(*(b.frame(i, pulse=100 + i) for i in (1, 2, 3)))
    b.feed(*(b.frame(i, pulse=200 + i) for i in (1, 2, 3)))
    assert b.order == [1, 2, 3, 1, 2, 3]
    assert b.packets.duplicate == 0


def test_restart_far_forward():
    b = Bench(max_frame_gap=10)
    b.feed(b.frame(1))
    b.now += 7
    b.feed(b.frame(10**9, pulse=5000), b.frame(10**9 + 1, pulse=5001))
    assert b.order == [1, 10**9, 10**9 + 1]
    assert (b.frames.resyncs, b.frames.empty, b.packets.lost) == (1, 0, 0)
    assert (b.frames.outages, b.frames.outage_s) == (1, 7.0)


def test_a_gap_above_the_longest_is_counted_when_frame_and_pulse_agree():
    b = Bench(max_frame_gap=10)
    b.feed(*(b.frame(i) for i in range(1, 21)), *(b.frame(i) for i in range(321, 341)))
    assert b.order == [*range(1, 21), *range(321, 341)]
    assert (b.frames.resyncs, b.frames.outages, b.frames.empty) == (0, 0, 300)
    assert (b.packets.expected, b.packets.lost) == (340 * 8, 300 * 8)


def test_a_restart_backward_is_no_outage():
    b = Bench()
    b.feed(b.frame(100), b.frame(101), b.frame(1, pulse=9000), b.frame(2, pulse=9001))
    assert (b.frames.resyncs, b.frames.outages) == (1, 0)


class Killed(Bench):
    """An assembler that goes on where another was killed; only the account of that is known."""

    def __init__(self, before: Bench, silent_s: float = 5.0, **rules):
        super().__init__(**rules)
        self.before = dict(zip(ACCOUNT, before.assembler.account(), strict=True))
        last = int(self.before["last.framenum"]), int(self.before["last.pulse"])
        self.assembler.resume(*last, silent_s, self.now)

    @property
    def totals(self) -> dict[str, float]:
        left = settle({**self.before, "frames.abandoned": 0})
        counts = counters(ReceiverStatus(packets=self.packets, frames=self.frames))
        return {name: left.get(name, 0) + count for name, count in counts.items()}


@pytest.mark.parametrize("gap", [1, 2, 50, 3000])
@pytest.mark.parametrize("cut", [0, 3, 8])
def test_all_that_was_sent_is_counted_after_a_kill(cut: int, gap: int):
    before = Bench()
    before.feed(before.frame(1), before.frame(2), before.frame(3)[:5], before.frame(4)[:cut])
    b = Killed(before)
    b.feed(b.frame(4 + gap)[2:], *(b.frame(i) for i in range(5 + gap, 10 + gap)))
    b.flush()
    totals = b.totals
    assert totals["packets.expected"] == (9 + gap) * 8
    assert totals["packets.placed"] == 8 + 8 + 5 + cut + 6 + 5 * 8
    assert totals["packets.lost"] == totals["packets.expected"] - totals["packets.placed"]
    frames = {name: totals[f"frames.{name}"] for name in ("complete", "incomplete", "empty", "delivered", "abandoned")}
    whole = cut == 8
    assert frames["complete"] + frames["incomplete"] == frames["delivered"] + frames["abandoned"]
    assert frames["complete"] + frames["incomplete"] + frames["empty"] == 9 + gap
    assert frames["abandoned"] == (0 if whole else 2 if cut else 1)
    assert totals["frames.outages"] == 0


def test_packets_of_the_frame_that_a_kill_closed_are_late():
    before = Bench()
    before.feed(before.frame(1), before.frame(2)[:5])
    b = Killed(before, silent_s=0.01)
    b.feed(b.frame(2)[5:], b.frame(3), b.frame(4))
    assert b.order == [3, 4]
    assert (b.totals["packets.late"], b.totals["packets.lost"], b.totals["packets.expected"]) == (3, 3, 4 * 8)


def test_another_stream_after_a_kill_is_one_outage():
    before = Bench()
    before.feed(before.frame(100), before.frame(101))
    b = Killed(before, silent_s=60.0)
    b.feed(b.frame(1, pulse=9000), b.frame(2, pulse=9001))
    assert b.order == [1, 2]
    assert (b.totals["frames.outages"], b.totals["frames.outage_s"]) == (1, 60.0)
    assert (b.totals["packets.lost"], b.totals["frames.empty"]) == (0, 0)


def test_the_account_balances_while_frames_are_handed_over():
    b = Bench(batch=16)
    packets = [*b.frame(1), *b.frame(3)[:4], *b.frame(2)[:4]]
    n = fill_block(b.block, b.geometry, packets, ())
    finished = 0
    for some in b.assembler.feed(b.block, n, b.now):
        finished += len(some)
        account = dict(zip(ACCOUNT, b.assembler.account(), strict=True))
        fates = sum(account[f"packets.{fate}"] for fate in ("placed", "duplicate", "late", "alien", "held"))
        assert account["packets.received"] == fates < 16
    assert finished == 1


def test_restarted_single_frame_is_taken_after_silence():
    b = Bench(flush_timeout_s=0.1)
    b.feed(b.frame(100))
    b.feed(b.frame(1, pulse=9000))
    assert b.packets.held == 8
    b.pause(0.5)
    assert b.order == [100, 1]
    assert b.packets.held == 0


def test_one_packet_per_frame():
    b = Bench(packets=1, batch=4)
    b.feed(*(b.frame(i) for i in range(1, 20)), b.frame(5000, pulse=3), *(b.frame(i) for i in range(20, 30)))
    assert b.order == list(range(1, 30))
    assert b.packets.alien == 1
    b.feed(*(b.frame(i, pulse=9000 + i) for i in range(1, 4)))
    assert b.order == [*range(1, 30), 1, 2, 3]


@pytest.mark.parametrize("burst", [1, 8, 4, 3])
def test_two_senders_on_one_port(burst: int):
    b = Bench(packets=8)
    mine = [p for i in range(100, 120) for p in b.frame(i)]
    other = [p.but(fill=255) for i in range(5000, 5020) for p in b.frame(i, pulse=70 + i)]
    for i in range(0, len(mine), burst):
        b.feed(mine[i : i + burst], other[i : i + burst])
    b.flush()
    assert b.order == list(range(100, 120))
    assert b.frames.complete == 20
    assert b.packets.alien == len(other)


@pytest.mark.parametrize("ended_by", ["silence", "gate", "flush"])
@pytest.mark.parametrize("first", [5000, 102])
def test_the_last_frame_of_a_second_sender_is_never_kept(first: int, ended_by: str):
    b = Bench(packets=8, flush_timeout_s=0.1)
    for n in range(20):
        b.now += 0.01
        b.feed(b.frame(100 + n), b.frame(first + n, pulse=700_000 + n))
    {"silence": lambda: b.pause(5), "gate": b.close_gate, "flush": b.flush}[ended_by]()
    assert b.order == list(range(100, 120))
    assert (b.packets.alien, b.packets.held) == (160, 0)


def test_two_senders_with_the_same_frame_numbers_are_not_mixed():
    b = Bench(packets=8)
    for i in range(1, 20):
        mine, other = b.frame(i), [p.but(fill=255) for p in b.frame(i, pulse=50_000 + i)]
        for a, z in zip(mine, other, strict=True):
            b.feed([a, z])
    b.flush()
    assert b.order == list(range(1, 20))
    assert all(255 not in row for done in b.slots.done for row in done.rows)
    assert b.packets.alien == 19 * 8


def test_wrong_endian_sender():
    b = Bench()
    b.feed(b.frame(1))
    swapped = [
        p.but(
            frame=int(np.uint64(p.frame).byteswap()),
            number=int(np.uint32(p.number).byteswap()),
            module=int(np.uint16(p.module).byteswap()),
            pulse=float(np.float64(p.pulse).byteswap()),
        )
        for p in b.frame(2)
    ]
    b.feed(swapped, b.frame(2))
    assert b.order == [1, 2]
    assert b.packets.alien + b.packets.malformed == 8


def test_flood_of_garbage_lets_good_data_through():
    rng = np.random.default_rng(1)
    b = Bench()
    for i in range(1, 40):
        good = b.frame(i)
        for p in good:
            wild = [p.but(frame=int(rng.integers(2**63)), pulse=float(rng.random() * 1e12), fill=0) for _ in range(3)]
            b.feed([p], wild)
    b.flush()
    assert b.order == list(range(1, 40))
    assert b.frames.complete == 39
    assert b.packets.alien == 39 * 24


def test_restart_under_a_flood_of_wild_packets():
    rng = np.random.default_rng(2)
    b = Bench(packets=16, batch=32)
    b.feed(b.frame(500))
    for i in range(1, 6):
        for n, p in enumerate(b.frame(i, pulse=9000 + i)):
            b.feed([p], [p.but(frame=int(rng.integers(2**40, 2**63)))] if n % 3 == 0 else [])
    assert b.order == [500, 1, 2, 3, 4, 5]
    # Only the very first packet of the restart, that a wild one outvoted, can be taken for wild itself.
    assert b.packets.lost <= 1
    assert b.frames.complete >= 5


def test_exhausted_frame_is_counted_and_the_next_goes_on():
    b = Bench()
    b.slots.exhausted = True
    b.feed(b.frame(1))
    b.slots.exhausted = False
    b.feed(b.frame(2))
    assert b.order == [2]
    assert (b.frames.exhausted, b.frames.delivered, b.frames.complete) == (1, 1, 2)


def test_held_packets_are_counted_while_it_is_undecided():
    b = Bench()
    b.feed(b.frame(1), b.frame(9999, pulse=3)[:2])
    assert b.packets.held == 2
    b.feed(b.frame(2))
    assert (b.packets.held, b.packets.alien) == (0, 2)


def test_the_same_run_sent_again_after_a_pause_is_not_taken_for_duplicates():
    b = Bench()
    b.feed(*(b.frame(i) for i in (1, 2, 3)))
    b.pause(2)
    b.feed(*(b.frame(i) for i in (1, 2, 3)))
    b.flush()
    assert b.order == [1, 2, 3, 1, 2, 3]


def test_the_first_of_a_kind_is_logged_once_a_run(caplog: pytest.LogCaptureFixture):
    b = Bench()
    for _ in range(3):
        b.feed([b.frame(1)[0].but(length=3), b.frame(1)[0].but(length=4), b.frame(1)[0].but(module=77)])
    assert len(caplog.records) == 2
    assert "3 bytes, expected 56" in caplog.text
    b.open_gate()
    b.feed([b.frame(1)[0].but(length=3)])
    assert len(caplog.records) == 3


SURPRISES = {
    "pulse skips within the limit": lambda p: p.but(pulse=p.pulse + 5),
    "pulse jumps": lambda p: p.but(pulse=p.pulse + 10**7),
    "pulse unusable": lambda p: p.but(pulse=math.nan),
    "another frame": lambda p: p.but(frame=p.frame + 1),
    "a frame far away": lambda p: p.but(frame=p.frame + 10**6),
    "packets shifted": lambda p: p.but(number=(p.number + 1) % 8),
    "another module": lambda p: p.but(module=MODULE + 1),
    "too short": lambda p: p.but(length=50),
    "too long": lambda p: p.but(length=70),
}


@pytest.mark.parametrize("begin", [8, 12, 16, 20, 24])
@pytest.mark.parametrize("count", [1, 3, 8, 20])
@pytest.mark.parametrize("surprise", SURPRISES)
def test_nothing_stays_where_it_landed_by_mistake(surprise: str, begin: int, count: int):
    """Packets ``begin`` on are not what was expected, in every place of a block; each row is its packet's, or zero."""
    b = Bench()
    packets = [p.but(fill=i + 1) for i, p in enumerate(p for i in range(1, 9) for p in b.frame(i))]
    packets[begin : begin + count] = [SURPRISES[surprise](p) for p in packets[begin : begin + count]]
    sent: dict[tuple[int, int], set[int]] = {}
    for p in packets:
        sent.setdefault((p.frame, p.number), set()).add(p.fill)
    b.feed(packets)
    b.flush()
    assert b.slots.done
    for done in b.slots.done:
        for number, (row, there) in enumerate(zip(done.rows, done.mask, strict=True)):
            assert len(set(row)) == 1
            assert row[0] in (sent[done.index, number] if there else {0}), (done.index, number)
    assert b.slots.on_loan == 0


def test_another_sender_in_the_middle_of_a_frame_does_not_land_in_it():
    b = Bench(batch=4)
    mine = b.frame(1) + b.frame(2)
    other = [p.but(fill=255, pulse=p.pulse + 3) for p in b.frame(1)[4:]]
    b.feed(mine[:4], other, mine[4:])
    b.flush()
    assert rows_of(b, 1) == [[p.fill] * 8 for p in b.frame(1)]
    assert b.packets.alien == 4


@pytest.mark.parametrize("pulse", [None, math.nan])
@pytest.mark.parametrize("batch", [3, 4, 16])
@pytest.mark.parametrize("count", [1, 7, 8, 9])
@pytest.mark.parametrize("begin", range(8, 20))
def test_packets_lost_anywhere_in_a_block(begin: int, count: int, batch: int, pulse: float | None):
    b = Bench(batch=batch)
    packets = [p for i in range(1, 7) for p in b.frame(i, pulse)]
    del packets[begin : begin + count]
    came = {(p.frame, p.number): p.fill for p in packets}
    b.feed(packets)
    b.flush()
    assert (b.packets.lost, b.packets.placed + b.packets.bad_pulse) == (count, len(packets))
    for done in b.slots.done:
        assert done.rows == [[came.get((done.index, n), 0)] * 8 for n in range(8)]


def test_packets_that_landed_and_were_then_held_are_not_lost():
    b = Bench(batch=4)
    b.feed(b.frame(1), b.frame(2)[:4])
    again = [p for i in (2, 3, 4, 5) for p in b.frame(i, pulse=10**7 + i)][4:]
    b.feed(again)
    b.flush()
    assert b.frames.resyncs == 1
    assert [(d.index, d.pulse_id, d.count) for d in b.slots.done] == [
        (1, 1001, 8),
        (2, 1002, 4),
        (2, 10**7 + 2, 4),
        (3, 10**7 + 3, 8),
        (4, 10**7 + 4, 8),
        (5, 10**7 + 5, 8),
    ]
    assert b.slots.done[2].rows == [[0] * 8] * 4 + [[p.fill] * 8 for p in again[:4]]


def test_frames_of_one_block_land_in_slots_of_their_own():
    bench = Bench(8, batch=64, ahead=6)
    bench.feed(bench.frame(1), batch=8)
    for first in (2, 4, 9, 14):
        frames = [bench.frame(index) for index in range(first, first + {2: 2, 4: 5, 9: 5, 14: 1}[first])]
        landings = bench.assembler.landing()
        bench.feed(*frames)
        assert len(landings) == {2: 2, 4: 3, 9: 6, 14: 6}[first]
    assert bench.order == list(range(1, 15))
    assert all(done.rows[n][0] == p.fill for done in bench.slots.done for n, p in enumerate(bench.frame(done.index)))


def test_nothing_is_claimed_for_a_stream_that_fell_silent():
    bench = Bench(8, ahead=4)
    bench.feed(bench.frame(1), bench.frame(2))
    assert bench.assembler.landing()
    assert bench.slots.on_loan
    bench.pause(1.0)
    assert bench.slots.on_loan == 0
    assert not bench.assembler.landing()
    bench.feed(bench.frame(3), batch=4)
    assert bench.order == [1, 2, 3]
    assert bench.assembler.landing()
