from sim.hosts.delay_line import DelayLine


def test_packets_come_out_after_the_delay_in_order() -> None:
    line = DelayLine(0.05, 0.0, seed=1)
    line.put(b"a", 1.0)
    line.put(b"b", 1.01)
    assert line.due(1.04) == []
    assert line.due(1.055) == [b"a"]
    assert line.due(1.055) == []
    assert line.due(9.0) == [b"b"]


def test_it_says_how_long_to_wait() -> None:
    line = DelayLine(0.5, 0.0, seed=1)
    assert line.wait_s(1.0) is None
    line.put(b"a", 1.0)
    assert line.wait_s(1.25) == 0.25
    assert line.wait_s(3.0) == 0.0


def test_the_fraction_is_lost_and_counted_and_a_seed_repeats_it() -> None:
    runs = []
    for _ in range(2):
        line = DelayLine(0.0, 0.1, seed=7)
        for number in range(1000):
            line.put(number.to_bytes(2, "big"), 0.0)
        runs.append(line.due(0.0))
        assert len(runs[-1]) == 1000 - line.lost
    assert runs[0] == runs[1]
    assert 50 < line.lost < 150


def test_a_full_line_loses_what_comes_and_counts_it() -> None:
    line = DelayLine(1.0, 0.0, seed=1, limit=2)
    for packet in (b"a", b"b", b"c"):
        line.put(packet, 0.0)
    assert line.dropped == 1
    assert line.due(1.0) == [b"a", b"b"]
    line.put(b"d", 1.0)
    assert line.due(2.0) == [b"d"]
