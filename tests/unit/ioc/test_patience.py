from detectors.config import Config, parse_config
from detectors.pools.sizing import plan_buffers
from ioc.patience import FAULT_RATE, patience_s

GIB = 1 << 30


def camera(source: str = "", top: str = "") -> Config:
    return parse_config(
        f'[detector]\nname = "D"\nprefix = "D:"\n{top}\n[[pva]]\nname = "CAM"\npv = "X"\n'
        f"connect_timeout_s = 20\nmatch_tmo_ms = 3000\n{source}"
    )


def test_it_grows_with_what_is_configured() -> None:
    small = camera('dtype = "uint8"\nshape = [10]')
    large = camera('dtype = "uint8"\nshape = [67108864]', '[dma]\ncfgRxCount = 100\ncfgSize = "1 MiB"')
    assert 23 < patience_s(small, small.pva[0]) < 40
    memory = plan_buffers(large, large.pva[0]).memory_bytes
    assert memory > 16 * GIB
    assert patience_s(large, large.pva[0]) > 23 + memory / FAULT_RATE


def test_a_payload_that_has_shown_counts() -> None:
    config = camera(top='[dma]\ncfgRxCount = 100\ncfgSize = "1 MiB"')
    known = [patience_s(config, config.pva[0], n << 20) for n in (1, 64)]
    assert known[1] - known[0] > 60
    assert patience_s(config, config.pva[0]) > known[0]  # anything could come


def test_what_breaks_the_rules_is_refused_at_once() -> None:
    config = camera(top='[dma]\ncfgRxCount = 1\ncfgSize = "4 KiB"')
    assert 23 < patience_s(config, config.pva[0], 1 << 40) < 40


def test_a_module_waits_for_no_pv() -> None:
    config = parse_config(
        '[detector]\nname = "D"\nprefix = "D:"\n[[udp]]\nname = "M0"\nexpect_module_id = 0\nport = 50000'
    )
    assert 5 < patience_s(config, config.udp[0]) < 20
