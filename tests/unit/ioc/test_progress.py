import io
import os
import pty
import sys

import pytest

from ioc.progress import progress, rate_text, working


def test_nothing_is_printed_where_there_is_no_terminal(capsys):
    with progress("verify", "files") as show, working("check: the disk"):
        for done in range(100):
            show(done, 100)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("speed", "text"), [(None, ""), (0.25, "0.2 files/s"), (123.4, "123 files/s")])
def test_a_rate_in_the_unit_of_the_work(speed, text):
    assert rate_text(speed, "files") == text


@pytest.mark.timeout(10)
def test_a_bar_on_a_terminal_and_findings_into_a_file(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("verify", "files") as show:
            show(30, 100)
            sys.stdout.write("a finding\n")
        assert out.getvalue() == "a finding\n"
        shown = b""
        while b"30/100" not in shown:
            shown += os.read(ours, 1 << 16)
    os.close(ours)
