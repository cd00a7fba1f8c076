import io

from rich.console import Console

from ioc.demo.audit import Line
from ioc.demo.screen import summary


def test_the_summary_shows_what_is_wrong_and_gathers_what_is_zero():
    out = io.StringIO()
    Console(file=out, width=120).print(
        summary([Line("frames", 10, 10), Line("lost", 0, 0), Line("gone", 0, 0), Line("pixels", 1, 0)])
    )
    lines = out.getvalue().splitlines()
    assert any("frames" in line and "ok" in line for line in lines)
    assert any("pixels" in line and "WRONG" in line for line in lines)
    assert any("2 more" in line for line in lines)
