from detectors.stats import Rates
from detectors.workers.rates import RateMeter


def test_rates_are_averaged_over_the_last_second():
    meter = RateMeter()
    rates = Rates()
    for tenth in range(31):
        frames = tenth * 10 if tenth <= 20 else 200  # 100 frames/s for 2 s, then nothing
        rates = meter.add(tenth / 10, frames, frames * 4, frames * 1000)
        if tenth == 20:
            assert rates == Rates(100.0, 400.0, 100_000.0)
        if tenth == 25:
            assert rates.frames_hz == 50.0
    assert rates == Rates()


def test_one_sample_gives_no_rate():
    assert RateMeter().add(5.0, 10, 10, 10) == Rates()
