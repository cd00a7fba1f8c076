"""The simulators that stand in for the sources of a configuration."""

import tomllib

import click
import pytest

from detectors.config import load_config, parse_config
from detectors.errors import ConfigError
from detectors.geometry import GEOMETRIES, ModuleGeometry
from ioc.cli.sim import command as sim
from ioc.cli.sim.geometry import GeometryType
from ioc.demo.sources import Clock, geometry_text, simulators
from tests.support.examples import EXAMPLES

CLOCK = Clock(10.0, 1, 1)
OWN = '{ header = "sls", rows = 128, cols = 256, dtype = "uint16", packets_per_frame = 8 }'


def made(text: str, clock: Clock = CLOCK, **more):
    more = {"receive_buffer": 64 << 20, "faults": []} | more
    return simulators(parse_config('[detector]\nname = "D"\nprefix = "D:"\n' + text, "here"), clock, **more)


def option(simulator, name: str) -> str:
    return simulator.arguments[simulator.arguments.index(f"--{name}") + 1]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_every_example_has_simulators_whose_options_there_are(name: str) -> None:
    config = load_config(EXAMPLES / f"{name}.toml")
    found = simulators(config, CLOCK, receive_buffer=64 << 20, faults=["--loss", "0.1"])
    assert len(found) >= len(config.udp) + len(config.pva)
    assert ("timing" in {one.name for one in found}) == (config.timing is not None)
    for one in found:
        kind = sim.get_command(click.Context(sim), one.arguments[0])
        assert kind is not None
        assert kind.make_context(kind.name, [*one.arguments[1:], "--epoch-ns", "-"]).params


def test_a_module_is_sent_as_it_is_expected() -> None:
    clock = Clock(5.0, 1001, 4, frames=7, seconds=3.5)
    text = '[[udp]]\nname = "A"\nport = 5000\ngeometry = "eiger-16"\npulse_from = "bunchid"\n'
    text += '[[udp]]\nname = "B"\nport = 5001\naddress = "127.0.0.2"\n'
    text += 'geometry = "eiger-16"\nexpect_module_id = 230\nrow = 1\ncolumn = 2\n'
    first, second = made(text, clock)
    assert (first.what, second.what) == ("127.0.0.1:5000", "127.0.0.2:5001")
    assert (option(first, "module-id"), option(second, "module-id")) == ("0", "230")
    assert [option(second, name) for name in ("number", "row", "column", "geometry")] == ["1", "1", "2", "eiger-16"]
    assert [option(second, name) for name in ("rate", "frames", "seconds")] == ["5", "7", "3.5"]
    assert "--no-bunchid" in second.arguments
    assert "--no-bunchid" not in first.arguments
    assert {option(one, "first-frame") for one in (first, second)} == {"250"}  # as if it had gone on since pulse 4


def test_a_geometry_of_ones_own_reaches_the_simulator() -> None:
    (one,) = made(f'[[udp]]\nname = "A"\nport = 5000\ngeometry = {OWN}\n')
    table = tomllib.loads(f"g = {OWN}")["g"]
    text = option(one, "geometry")
    assert GeometryType()(text) == ModuleGeometry(name="custom", **table)


@pytest.mark.parametrize("name", sorted(GEOMETRIES))
def test_a_known_geometry_is_named(name: str) -> None:
    assert geometry_text(GEOMETRIES[name]) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jungfrau-9", "expected one of jungfrau"),
        ("{ rows = ", "rows"),
        ("{ rows = 3 }", "missing"),
        (OWN.replace("= 8 ", "= 7 "), "do not divide"),
        (OWN.replace("rows", "lines"), "lines"),
    ],
)
def test_a_geometry_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        GeometryType()(text)


def test_cameras_and_timing_take_every_nth_pulse() -> None:
    text = '[timing]\nport = 5100\n[[udp]]\nname = "A"\nport = 5000\n[[pva]]\nname = "C"\npv = "S:image"\n'
    module, camera, timing = made(text, Clock(100.0, 1, 2, every=10, frames=95))
    assert [option(module, n) for n in ("rate", "step", "frames")] == ["100", "2", "95"]
    for one in (camera, timing):
        assert [option(one, n) for n in ("rate", "step", "frames")] == ["10", "20", "10"]
    assert option(camera, "shape") == "512x512"


def test_a_pv_over_channel_access_is_served_under_its_name() -> None:
    text = '[[pva]]\nname = "C"\npv = ["ca/S:hist[2048](float64)", "b=ca/S:image1:ArrayData"]\ndtype = "int16"\n'
    spectrum, image = made(text)
    assert spectrum.arguments[:4] == ["ca", "S:", "--array", "hist"]
    assert (option(spectrum, "shape"), option(spectrum, "dtype")) == ("2048", "float64")
    assert option(spectrum, "interface") == "0.0.0.0"  # else a search by broadcast would not find it
    assert image.arguments[:4] == ["ca", "S:", "--array", "image1:ArrayData"]
    assert (spectrum.name, image.name) == ("C.C", "C.b")


def test_only_what_is_named_is_simulated() -> None:
    text = '[[udp]]\nname = "A"\nport = 5000\nenabled = false\n[[udp]]\nname = "B"\nport = 5001\n'
    assert [one.name for one in made(text)] == ["B"]
    assert [one.name for one in made(text, only=frozenset({"A"}))] == ["A"]
    with pytest.raises(ConfigError, match="--only: found X, expected one of A, B"):
        made(text, only=frozenset({"X"}))


def test_a_small_socket_buffer_is_filled_slowly() -> None:
    text = '[[udp]]\nname = "A"\nport = 5000\n'
    assert option(made(text)[0], "burst") == "32"
    assert option(made(text, receive_buffer=212_992)[0], "burst") == "6"  # 25 packets fit


def test_a_module_that_takes_packets_of_another_host_alone_is_refused() -> None:
    text = '[[udp]]\nname = "A"\nport = 5000\nsource = "10.1.2.3:4000"\n'
    with pytest.raises(ConfigError, match=r"A: takes packets from 10\.1\.2\.3:4000 alone"):
        made(text)


def test_a_text_and_a_scalar_are_no_arrays() -> None:
    for spec in ("S:text(string)", "S:number[1](float64)", "S:table.column"):
        with pytest.raises(ConfigError, match="no array that a simulator could send"):
            made(f'[[pva]]\nname = "C"\npv = "{spec}"\n')


def test_packets_go_to_the_host_of_their_module() -> None:
    text = (
        '[[udp]]\nname = "M00"\nport = 5000\nhost = "daq1"\n[[udp]]\nname = "M01"\nport = 5001\n'
        '[[host]]\nname = "daq1"\naddress = "10.0.0.1"\n[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    )
    assert [one.what for one in made(text)] == ["10.0.0.1:5000", "127.0.0.1:5001"]
