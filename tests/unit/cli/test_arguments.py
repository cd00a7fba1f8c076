"""One style of argument: what has the same meaning has the same name, type and help text in every command."""

from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from detectors.buffer.layout import LAST_PULSE
from ioc.cli import arguments, cli
from tests.unit.buffer.make import RawBuffer
from tests.unit.cli.every import every_command

COMMANDS = every_command()
SHARED = {"--start", "--stop", "--step", "--module", "--json", "-o", "--rate"}
RANGES = [words for words, command in COMMANDS.items() if any("--stop" in p.opts for p in command.params)]


def options(spelt: str) -> dict[str, click.Option]:
    found = {
        words: option
        for words, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option) and spelt in option.opts
    }
    assert found, spelt
    return found


@pytest.mark.parametrize("spelt", sorted(SHARED))
def test_a_shared_option_is_the_same_everywhere(spelt: str):
    kinds = {(o.name, tuple(o.opts), type(o.type), o.is_flag) for o in options(spelt).values()}
    assert len(kinds) == 1, kinds


@pytest.mark.parametrize("spelt", ["--stop", "--step", "--module", "--json"])
def test_its_help_is_the_same_everywhere(spelt: str):
    assert len({option.help for option in options(spelt).values()}) == 1


def test_every_argument_has_a_name_of_the_list():
    names: dict[str, list[str]] = defaultdict(list)
    for words, command in COMMANDS.items():
        for param in command.params:
            if isinstance(param, click.Argument):
                names[param.make_metavar(click.Context(command)).strip("[]")].append(words)
    assert set(names) == {
        "FOLDER",
        "CONFIG",
        "FOLDER|CONFIG",
        "FUNCTION",
        "PULSE",
        "HDF5",
        "MODULE",
        "SOURCE",
        "DETECTOR",
        "HOST",
        "NAME",
        "{bash|zsh|fish}",
        "ADDRESS",
        "PV",
        "PREFIX",
    }
    assert set(names["FOLDER"]) == {"info", "read", "verify", "repair", "replay", "write"}


def test_old_names_are_gone():
    spelt = {opt for command in COMMANDS.values() for param in command.params for opt in param.opts}
    assert not spelt & {"--image", "--keep", "--first-pulse", "--pulse-step", "--detector", "--quiet", "-q"}
    assert "preflight" not in COMMANDS


@pytest.mark.parametrize("words", RANGES)
def test_a_range_that_ends_before_it_starts_is_refused(words: str, tmp_path: Path):
    result = CliRunner().invoke(
        cli, [*words.split(), str(tmp_path), "--start", "9", "--stop", "5", *_needed(words, tmp_path)]
    )
    assert result.exit_code == 2
    assert result.stderr == "pebbledaq: --stop: found 5, expected 9 (--start) or a later pulse\n"


def _needed(words: str, folder: Path) -> list[str]:
    output = ["-o", str(folder / "a.h5")]
    return {"write": output, "process": ["detectors.processing.ready:mean", *output]}.get(words, [])


def test_the_last_pulse_is_that_of_the_buffer():
    assert arguments.LAST_PULSE == LAST_PULSE


@pytest.mark.parametrize("found", ["-1", "x", "1.5", str(LAST_PULSE + 1)])
def test_a_pulse_is_a_number_from_0_to_the_last(found: str, tmp_path: Path):
    result = CliRunner().invoke(cli, ["info", str(tmp_path), f"--start={found}"])
    assert result.exit_code == 2
    assert f"found '{found}', expected a pulse_id" in result.output


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A folder with one detector."""
    raw = RawBuffer(tmp_path / "all" / "JF")
    for pulse_id in (10, 11, 14):
        raw.put("M00", pulse_id)
    raw.put("M01", 10)
    return tmp_path / "all"


@pytest.mark.parametrize("words", [["read", "10"], ["verify"], ["info"], ["repair", "--dry-run"]])
def test_a_folder_of_one_detector_stands_for_it(above: Path, words: list[str]):
    first, *rest = words
    runs = [CliRunner().invoke(cli, [first, str(folder), *rest, "--module", "M01"]) for folder in (above, above / "JF")]
    assert runs[0].output == runs[1].output
    assert runs[0].exit_code == runs[1].exit_code == 0, runs[0].output


def test_of_several_detectors_one_must_be_named(above: Path):
    RawBuffer(above / "EIGER").put("M00", 1)
    result = CliRunner().invoke(cli, ["read", str(above), "10"])
    assert result.exit_code == 2
    assert f"found 2 detectors, expected one; give one of {above}/EIGER, {above}/JF" in result.stderr


def test_info_of_a_range_and_a_module(above: Path):
    result = CliRunner().invoke(cli, ["info", str(above), "--start", "11", "--stop", "14", "--module", "M00"])
    row = next(line.split() for line in result.output.splitlines() if line.startswith("M00 "))
    assert row[:4] == ["M00", "2", "11", "14"]
