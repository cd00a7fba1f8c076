"""The runner of the pages fails where it must."""

from pathlib import Path

import pytest

from tests.docs.blocks import Step, blocks, steps
from tests.docs.names import Names
from tests.docs.shape import agrees
from tests.docs.walk import walk

PAGE = """
```python
# scan.py
print(6 * 7)
```

```console
$ export SIZE=5
$ python scan.py && echo \\
> size $SIZE
41
size 6
$ test -f examples/both.toml
$ false
$ echo $?
1
```

```python
number = 6
```

```python
assert number == 6
```
"""


def walked(page: str) -> list[tuple[Step, list[str]]]:
    found: list[tuple[Step, list[str]]] = []
    walk("page.md", page, lambda step, printed: found.append((step, printed)))
    return found


def test_a_page_is_run_from_top_to_bottom() -> None:
    found = walked(PAGE)
    assert [step.command for step, _ in found][1] == "python scan.py && echo \\\nsize $SIZE"
    assert [printed for _, printed in found] == [[], ["42", "size 5"], [], [], ["1"]]
    assert all(agrees(step.shown, printed) for step, printed in found)


def test_a_command_that_fails_fails_its_page() -> None:
    with pytest.raises(AssertionError, match=r"line 3: false\nexit code 1"):
        walked("\n```console\n$ false\n$ true\n```\n")


def test_python_that_fails_fails_its_page() -> None:
    with pytest.raises(AssertionError, match=r"page.md, line 2:\n(.*\n)*.*line 3.*\n(.*\n)*.*ZeroDivisionError"):
        walked("\n```python\n1 / 0\n```\n")


def test_a_command_in_the_background_goes_on_until_it_is_killed() -> None:
    script = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(%d)); print('ready', 1); time.sleep(99)"
    page = (
        "```python\n# a.py\n" + script + "\n```\n```console\n$ python a.py &\nready 7\n$ echo on\non\n$ kill %%1\n```\n"
    )
    assert [printed for _, printed in walked(page % 0)] == [["ready 1"], ["on"], []]
    with pytest.raises(AssertionError, match=r"%1 ended with exit code 3"):
        walked(page % 3)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["M00  12.5 MB"], ["M00 1,203.25 MB", ""], True),
        (["┏━━━┓", "┃ 1 ┃"], ["┏━━━━━┓", "┃ 111 ┃"], True),
        (["in 1 s"], ["in -1 s"], True),
        (["A Sat Nov 28 11:01:18 2026 5"], ["A Tue Dec  1 01:55:29 2026 5"], True),
        (["Sat is a day"], ["Sun is a day"], False),
        (["good"], ["bad"], False),
        (["good"], ["good", "bad"], False),
        (["...", "good"], ["one", "two", "good"], True),
        (["good ... here"], ["good and well here"], True),
        (["good"], [], False),
    ],
)
def test_what_agrees(shown: list[str], printed: list[str], *, same: bool) -> None:
    assert agrees(shown, printed) is same


def test_a_command_that_goes_on_need_only_begin_as_shown() -> None:
    assert agrees(["ready"], ["ready", "more"], to_the_end=False)
    assert not agrees(["ready"], ["more", "ready"], to_the_end=False)


def test_names_of_the_machine_are_replaced_and_put_back(tmp_path: Path) -> None:
    text = (
        'prefix = "DAQ:JF:"\nport = 50020\nport_base = 9100\nfull = "tcp://127.0.0.1:9102"\nfolder = "/tmp/data"\n'
        "pebbledaq sim udp 50021 --rate 50020\ncaproto-get DAQ:JF:Acquire"
    )
    names = Names(tmp_path, [text])
    ours = names.ours(text)
    assert names.theirs(ours) == text
    lines = ours.splitlines()
    port, base = (int(lines[i].split()[-1]) for i in (1, 2))
    assert (port % 100, base % 100) == (20, 0)
    assert port < 32768
    assert f":{base + 2}" in lines[3]
    assert lines[4] == f'folder = "{tmp_path}/data"'
    assert lines[5] == f"pebbledaq sim udp {port + 1} --rate 50020"
    assert "DAQ:" not in ours


def test_two_pages_get_ports_of_their_own(tmp_path: Path) -> None:
    assert Names(tmp_path, []).ours("--port 8080") != Names(tmp_path, []).ours("--port 8080")


def test_blocks_are_found_with_their_lines() -> None:
    block = blocks(PAGE, "console")[0]
    assert [(b.language, b.file_name) for b in blocks(PAGE)][:2] == [("python", "scan.py"), ("console", None)]
    assert [(s.line, s.shown_from) for s in steps(block)][:3] == [(8, 9), (9, 11), (13, 14)]
