"""What the documents show is what the program has."""

import re
import tomllib
from pathlib import Path

import click

from detectors.config import load_config, parse_config
from ioc.cli import _COMMANDS, sim
from ioc.tables import COLUMNS
from ioc.templates import loads

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
HOW_TO = ROOT / "docs" / "how-to"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(text: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_configuration_shown_is_the_example() -> None:
    shown = blocks((HOW_TO / "run.md").read_text(), "toml")
    assert [s.strip() for s in shown] == [(ROOT / "examples" / "jungfrau.toml").read_text().strip()]
    parse_config(shown[0])


def test_the_twelve_pvs_exist() -> None:
    config = load_config(ROOT / "examples" / "jungfrau.toml")
    names = {name for load in loads(config) for name in load.names()}
    page = (HOW_TO / "clients.md").read_text()
    table = page[page.index("## Twelve PVs") : page.index("## All signals")]
    rows = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(rows) == 12
    assert set(re.findall(r"`(DAQ:JF01:[^`]+)`", table)) <= names


def test_every_command_is_in_the_readme() -> None:
    table = README[README.index("## Commands") : README.index("## What it is for")]
    listed = set(re.findall(r"`([a-z]+)", table))
    assert set(_COMMANDS) - listed == set()


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)$", README, re.MULTILINE)) | {"bench", "fuzz", "check"}
    assert targets >= {"demo", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_ci_script_calls_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_required_packages_are_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=~!\[ ]", d)[0] for d in project["dependencies"]}
    assert names >= {"p4p", "caproto", "numpy", "pyzmq", "softioc"}


def test_every_pv_on_the_pages_exists() -> None:
    names: set[str] = set()
    for path in (ROOT / "examples").glob("*.toml"):
        config = load_config(path)
        prefix = config.detector.prefix
        own = {name.removeprefix(prefix) for load in loads(config) for name in load.names()}
        own |= {name.removesuffix("_") for name in own if name.endswith("PVI_")}  # the structures that they head
        own |= {f"Tables:{name}" for name in COLUMNS}  # served by other servers, as these are
        own |= {"Pva1:Image", "Pva1:Preview", "Process:Total:mean", "Process:Last:mean"}
        for detector in {config.detector.name, *(source.name for source in config.pva)}:
            own |= {name.removeprefix(f"{detector}:") for name in own}  # the only detector of a server has no name
        names |= own
    parts = {name[: name.rindex(":") + 1] for name in names if ":" in name}
    for page in PAGES:
        shown = set(re.findall(r"(?:\$\(P\)|\bDAQ:[A-Z0-9]+:)([A-Za-z0-9:_]+)", page.read_text()))
        unknown = {name.removesuffix(":") for name in shown - parts} - names
        assert {name for name in unknown if not name.startswith("IOC:")} == set(), page.name


def test_the_simulated_sources_shown_are_those_of_their_examples() -> None:
    both, small = blocks((ROOT / "docs" / "how-to" / "simulate.md").read_text(), "sh")
    shown = {"both": both.splitlines()[1:], "pva-small": small.splitlines()}
    for example, lines in shown.items():
        config = load_config(ROOT / "examples" / f"{example}.toml")
        found = []
        for line in lines:
            kind, *words = line.removeprefix("pebbledaq sim ").replace("$EPOCH", "1000000000").split()
            command = sim.command.get_command(click.Context(sim.command), kind)
            assert command is not None
            options = command.make_context(kind, words).params
            assert options["epoch_ns"] == (1_000_000_000 if "EPOCH" in line else None)
            if kind == "pva":
                assert options["interface"] is options["port"] is options["broadcast_port"] is None
                found.append((options["pv"], options["shape"], options["dtype"]))
            else:
                found.append(options["address"])
        cameras = [(source.pv[0], source.shape, source.dtype) for source in config.pva]
        timing = [("127.0.0.1", config.timing.port)] if config.timing else []
        assert found == [*(("127.0.0.1", module.port) for module in config.udp), *cameras, *timing]


def test_a_pv_of_two_examples_is_the_same_array_in_both() -> None:
    arrays: dict[str, set[object]] = {}
    for path in sorted((ROOT / "examples").glob("*.toml")):
        for source in load_config(path).pva:
            for pv in source.pv:
                arrays.setdefault(pv, set()).add((source.shape, source.dtype))
    assert [pv for pv, kinds in arrays.items() if len(kinds) > 1] == []
