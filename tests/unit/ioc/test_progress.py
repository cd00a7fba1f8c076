import io
import os
import pty
import sys

import pytest

from ioc import progress as module
from ioc.progress import progress


def test_a_short_tool_prints_nothing(capsys):
    with progress("verify") as show:
        show(1, 2)
    assert capsys.readouterr().err == ""


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.0)
    with progress("verify") as show:
        for done in range(100):
            show(done, 100)
    assert capsys.readouterr().err == "verify: 0 of 100\n"


@pytest.mark.timeout(10)
def test_a_bar_on_a_terminal_and_findings_into_a_file(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("verify") as show:
            show(30, 100)
            sys.stdout.write("a finding\n")
        assert out.getvalue() == "a finding\n"
        shown = b""
        while b"30/100" not in shown:
            shown += os.read(ours, 1 << 16)
    os.close(ours)
