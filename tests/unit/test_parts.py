import pytest

from detectors.config import parse_config
from detectors.errors import ConfigError
from detectors.hosts import endpoint
from detectors.parts import PartPlace, part_of, parts
from detectors.worker_names import workers

GEOMETRY = 'geometry = { header = "jungfrau", rows = 4, cols = 8, dtype = "uint16", packets_per_frame = 4 }'
HOSTS = ("b", "a", "b", "a")
CONFIG = (
    '[detector]\nname = "D"\nprefix = "D:"\n'
    + "".join(
        f'[[udp]]\nname = "M{m}"\nport = {50000 + m}\nhost = "{host}"\nplace = {{ row = {10 * m}, column = {m} }}\n{GEOMETRY}\n'
        for m, host in enumerate(HOSTS)
    )
    + '[[host]]\nname = "a"\naddress = "10.0.0.1"\n[[host]]\nname = "idle"\n[[host]]\nname = "b"\n'
    + '[control]\nport_base = 52000\ncurve_keys = "/keys"\n'
    + '[stream]\nreduced = "tcp://127.0.0.1:5000"\nparts = true\npart_port_base = 53000\n'
)


def test_each_host_with_modules_has_a_part():
    first, second = parts(parse_config(CONFIG))
    assert (first.host.name, first.place.modules, first.layout.shape) == ("a", (1, 3), (8, 8))
    assert (second.host.name, second.place.modules) == ("b", (0, 2))
    assert first.bound == {"full": "tcp://10.0.0.1:53000", "reduced": "tcp://10.0.0.1:53001"}
    assert (second.bound["full"], second.reduced) == ("tcp://*:53004", "tcp://b:53005")


def test_the_place_of_a_part_with_gaps_is_its_corner():
    first, second = parts(parse_config(CONFIG + 'layout = "geometry"\n'))
    assert (first.place, first.layout.shape) == (PartPlace((1, 3), 4, 10, 1), (24, 10))
    assert (second.place, second.layout.shape) == (PartPlace((0, 2), 4, 0, 0), (24, 10))


def test_the_workers_of_parts_are_on_their_hosts():
    config = parse_config(CONFIG)
    assert [name for name in workers(config) if name.startswith("parts.")] == ["parts.a", "parts.b"]
    there = endpoint(config, "parts.b")
    assert there is not None
    assert there.host.name == "b"


def test_without_parts_there_are_none():
    config = parse_config(
        CONFIG.replace("parts = true", "parts = false").replace("[control]", "[zmq]\nport_base = 51000\n[control]")
    )
    assert parts(config) == []
    assert not any(name.startswith("parts.") for name in workers(config))
    with pytest.raises(ConfigError, match="parts = true"):
        part_of(config, "a")
    with pytest.raises(ConfigError, match="HOST: found 'idle', expected one of a, b"):
        part_of(parse_config(CONFIG), "idle")


@pytest.mark.parametrize(
    ("good", "bad", "line"),
    [
        ('host = "a"\n', "", "stream.parts: M1 have no host; give each module one"),
        ("part_port_base = 53000\n", "", "stream.part_port_base: missing; give the first of the tcp ports of the parts"),
        ("53000", "65531", "stream.part_port_base: found 65531, expected at most 65530: two ports for each host"),
    ],
)  # fmt: skip
def test_modules_that_cannot_be_streamed_in_parts_are_named(good, bad, line):
    with pytest.raises(ConfigError) as error:
        parse_config(CONFIG.replace(good, bad, 1))
    assert any(line in problem for problem in error.value.problems)
