from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.config import Config, load_config, parse_config
from detectors.curve import own_keys
from detectors.errors import ConfigError
from detectors.hosts import endpoint, reach
from detectors.worker_names import keepers

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))

GOOD = """
[detector]
name = "JF"
prefix = "T:JF:"

[[udp]]
name = "M00"
expect_module_id = 0
port = 50000
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


def test_defaults_are_those_of_the_documents() -> None:
    config = parse_config(GOOD)
    assert config.udp[0].geometry.frame_bytes == 1 << 20
    assert config.udp[0].geometry.packet_data_bytes == 8192
    assert config.dma.cfg_rx_count == 80
    assert config.dma.cfg_size == 1 << 20
    assert config.run.autostart


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.detector.prefix.endswith(":")


def test_there_are_the_four_examples() -> None:
    assert {p.stem for p in EXAMPLES} >= {"jungfrau", "pva-small", "rix-axis", "both"}


def test_the_axis_camera_is_74_mib() -> None:
    axis = load_config(next(p for p in EXAMPLES if p.stem == "rix-axis")).pva[0]
    assert axis.shape is not None
    assert axis.shape[0] * axis.shape[1] * 2 == 74 << 20


def test_every_mistake_is_named_at_once_with_its_place() -> None:
    found = problems(
        GOOD.replace('"JF"', '"1JF"')
        + """
colour = "red"
geometry = "jungfrow"

[[pva]]
pv = "A"

[dma]
cfgSize = "many"
"""
    )
    for place in (
        "detector.name: found '1JF'",
        "udp[0].colour: unknown key",
        "udp[0].geometry: found 'jungfrow'",
        "pva[0].name: missing",
        "dma.cfgSize: found 'many'",
    ):
        assert any(line.startswith(f"x.toml: {place}") for line in found), (place, found)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ('[[udp]]\nname = "M00"\nexpect_module_id = 1\nport = 50001', "udp[1].name: 'M00' is also the name of udp[0]"),
        (
            '[[udp]]\nname = "M01"\nexpect_module_id = 0\nport = 50001',
            "udp[1].expect_module_id: 0 is also that of udp[0]",
        ),
        ('[[udp]]\nname = "M01"\nexpect_module_id = 1\nport = 50000', "udp[1].port: 50000 is also the port of udp[0]"),
        (
            '[[udp]]\nname = "M01"\nexpect_module_id = 1\nport = 50001\ngeometry = "eiger-16"',
            "udp[1].geometry: differs from udp[0].geometry",
        ),
        (
            '[[udp]]\nname = "M01"\nmodule_id = 7\nport = 50001',
            "udp[1].module_id: found 7, but a module is numbered by its place in the file; remove it, or write expect_",
        ),
        ("[timing]\nport = 50000", "timing.port: 50000 is also the port of udp[0]"),
        (
            '[timing]\nport = 1\n[[pva]]\nname = "A"\npv = "A"\n[[pva]]\nname = "B"\npv = "B"',
            "timing.address: found 127.0.0.1, expected a multicast group",
        ),
        (
            "[pools]\ntransitionBufCount = 128",
            "pools.transitionBufCount: found 128, but transition buffers cannot be set",
        ),
        (
            '[pools]\ntransitionBufSize = "74 MiB"',
            "pools.transitionBufSize: found 77594624, but transition buffers cannot be set",
        ),
        (
            '[disk]\nfolder = "/a/b"\nroots = ["/c", "/a/bc"]',
            "disk: found the folder /a/b, expected one below the roots /c, /a/bc",
        ),
        ('[disk]\nfolder = "data"', "disk.folder: found the relative path 'data', expected an absolute one"),
    ],
)
def test_sections_are_checked_against_each_other(extra: str, line: str) -> None:
    found = problems(GOOD + extra)
    assert len(found) == 1
    assert found[0].startswith(f"x.toml: {line}")


def test_a_module_is_numbered_by_its_place_and_ports_may_share_an_id() -> None:
    ports = '[[udp]]\nname = "B"\nexpect_module_id = 0\ncolumn = 1\nport = 50001\n[[udp]]\nname = "C"\nport = 50002'
    config = parse_config(GOOD + ports + '\n[[pva]]\nname = "CAM"\npv = "X"')
    assert [config.index_of(source) for source in (*config.udp, *config.pva)] == [0, 1, 2, 0]


@pytest.mark.parametrize("good", ["", "10.1.2.3", "10.1.2.3:1", "10.1.2.3:65535"])
def test_a_sender_is_an_address_with_or_without_a_port(good: str) -> None:
    assert parse_config(GOOD + f'source = "{good}"').udp[0].source == good


@pytest.mark.parametrize(
    "bad", ["1.2.3.4:99999", "1.2.3.4:0", "1.2.3.4:", "1.2.3.4:+5", "1.2.3.256", "1.2.3", ":5000", "camera", "::1"]
)
def test_any_other_sender_is_refused_in_one_line(bad: str) -> None:
    line = f"x.toml: udp[0].source: found {bad!r}, expected an IPv4 address with an optional :port of 1 to 65535"
    assert problems(GOOD + f'source = "{bad}"') == [line]


@pytest.mark.parametrize("bad", ["", "1JF", "M 0", "x" * 33, "../M00", "M00\\n"])
def test_a_name_is_one_folder_and_one_part_of_a_pv(bad: str) -> None:
    (line,) = problems(GOOD.replace('"M00"', f'"{bad}"'))
    assert line.startswith("x.toml: udp[0].name: found ")
    assert line.endswith("expected a letter and at most 31 more letters, digits, - and _")


def test_names_that_differ_in_case_only_are_refused() -> None:
    (line,) = problems(GOOD + '[[pva]]\nname = "m00"\npv = "A"')
    assert line == "x.toml: pva[0].name: 'm00' is also the name of udp[0]; give each source its own"


def test_transition_buffers_of_one_source_cannot_be_set_either() -> None:
    (line,) = problems(GOOD + "[udp.pools]\ntransitionBufCount = 1")
    assert line.startswith("x.toml: udp[0].pools.transitionBufCount: found 1, but transition buffers cannot be set")


def test_an_empty_shape_is_refused() -> None:
    (line,) = problems(GOOD + '[[pva]]\nname = "A"\npv = "A"\ndtype = "uint16"\nshape = []')
    assert line.startswith("x.toml: pva[0].shape: found ")


def test_a_detector_without_sources_is_refused() -> None:
    assert "found no source" in problems('[detector]\nname = "A"\nprefix = "A:"')[0]


def test_a_geometry_may_be_a_table() -> None:
    table = 'geometry = { header = "sls", rows = 256, cols = 512, dtype = "uint32", packets_per_frame = 128 }'
    geometry = parse_config(GOOD + table).udp[0].geometry
    assert geometry.frame_bytes == 256 * 512 * 4


@pytest.mark.parametrize("packets", [0, 513, 3])
def test_an_irregular_geometry_is_refused(packets: int) -> None:
    table = f'geometry = {{ header = "sls", rows = 256, cols = 512, dtype = "uint32", packets_per_frame = {packets} }}'
    assert "packets_per_frame" in problems(GOOD + table)[0]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            '{ header = "sls2", rows = 256, cols = 512, dtype = "uint32", packets_per_frame = 64 }',
            "header: found 'sls2'",
        ),
        ('{ header = "sls", rows = 256, cols = 512, dtype = "uint3", packets_per_frame = 64 }', "dtype: found 'uint3'"),
        ('{ header = "sls", rows = "256", cols = 512, dtype = "uint32", packets_per_frame = 64 }', "rows: found '256'"),
        ('{ header = "sls", rows = 256, cols = -512, dtype = "uint32", packets_per_frame = 64 }', "cols: found -512"),
        ('{ header = "sls", cols = 512, dtype = "uint32", packets_per_frame = 64 }', "rows"),
    ],
)
def test_a_wrong_geometry_table_is_named(table: str, line: str) -> None:
    found = problems(GOOD + f"geometry = {table}")
    assert len(found) == 1
    assert line in found[0]


def test_a_source_may_have_its_own_ring_and_pools() -> None:
    config = parse_config(GOOD + "[udp.dma]\ncfgRxCount = 8\n[udp.pools]\npebbleBufCount = 32\n[pools]\nchecked = true")
    assert config.dma_of(config.udp[0]).cfg_rx_count == 8
    assert config.pools_of(config.udp[0]).pebble_buf_count == 32
    assert not config.pools_of(config.udp[0]).checked


def test_a_pva_source_is_a_detector_of_one_module() -> None:
    config = parse_config(GOOD + '[[pva]]\nname = "CAM"\npv = "A:B"')
    assert config.detector_of(config.pva[0]) == "JF-CAM"
    assert config.module_of(config.pva[0]) == "M00"
    assert config.pva[0].pv == ("A:B",)


def test_a_missing_file_and_bad_toml_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match=r"bad.toml: not TOML: "):
        load_config(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"not UTF-8"):
        load_config(tmp_path / "binary.toml")


def test_a_source_is_found_by_name_or_as_the_only_one() -> None:
    config = parse_config(GOOD)
    assert config.source("udp", None) is config.udp[0]
    assert config.source("udp", "M00") is config.udp[0]
    with pytest.raises(ConfigError, match=r"found 'M09', expected one of: M00"):
        config.source("udp", "M09")
    with pytest.raises(ConfigError, match=r"found no name, expected one of: none"):
        config.source("pva", None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(["detector", "udp", "name", "port", "geometry", "pv", "pva", "disk"]), x, max_size=4
            )
        ),
    )
)
def test_no_tree_of_values_makes_anything_but_a_list_of_mistakes(tree: object) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        Config.model_validate(tree)


TWO_HALVES = """[detector]
name = "JF"
prefix = "JF:"
[[udp]]
name = "M00"
port = 50000
geometry = "jungfrau-half"
place = { row = 258, column = 0, flip = "rows" }
[[udp]]
name = "M01"
port = 50001
geometry = "jungfrau-half"
"""


def test_places_make_an_image_with_gaps() -> None:
    config = parse_config(TWO_HALVES + 'place = { row = 0, column = 0 }\n[stream]\nlayout = "geometry"\ngap_value = 7')
    mosaic = config.mosaic()
    assert mosaic is not None
    assert (mosaic.shape, mosaic.gap_value) == ((514, 1030), 7)
    assert parse_config(GOOD).mosaic() is None


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("", "udp[1].place: missing; give the row and the column of each module"),
        (
            "place = { row = 200, column = 0 }",
            "place: modules 0 and 1 overlap: rows 258 to 513, columns 0 to 1029 and rows 200 to 455, columns 0 to 1029",
        ),
        ("place = { row = 0, column = -1 }", "udp[1].place: column: found -1, expected a whole number from 0 to 65535"),
        (
            "place = { row = 0, column = 0, chips = 90 }",
            "udp[1].place: chips: unknown key; remove it or correct its spelling",
        ),
        (
            "place = { row = 0 }",
            "udp[1].place: column: missing; it is required",
        ),
        (
            "place = { row = 0, column = 0 }\n[stream]\ngap_value = -1",
            "gap_value: found -1.0, expected a value of uint16",
        ),
    ],
)
def test_a_place_that_does_not_fit_is_one_line(more: str, line: str) -> None:
    assert problems(TWO_HALVES + more) == [f"x.toml: {line}"]


def test_images_with_gaps_need_places() -> None:
    assert "udp[0].place: missing" in problems(GOOD + '[stream]\nlayout = "geometry"')[0]
    (line,) = problems(
        '[detector]\nname = "A"\nprefix = "A:"\n[[pva]]\nname = "B"\npv = "B"\n[stream]\nlayout = "geometry"'
    )
    assert "only [[udp]] modules have a place" in line


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "[[["])
def test_text_that_is_no_toml_is_one_line(text):
    with pytest.raises(ConfigError, match=r"fuzz\.toml: not TOML: ") as caught:
        parse_config(text, "fuzz.toml")
    assert len(caught.value.problems) == 1


def test_a_camera_does_not_have_the_name_of_the_modules_detector() -> None:
    with pytest.raises(
        ConfigError, match=r"pva\[0\].name: 'D' is also the name of the detector that the modules make up"
    ):
        parse_config(
            '[detector]\nname = "D"\nprefix = "D:"\n[[udp]]\nname = "M00"\nport = 5000\n[[pva]]\nname = "D"\npv = "C"\n'
        )


HOSTS = (
    GOOD
    + """
host = "daq1"

[[udp]]
name = "M01"
port = 50000
host = "daq2"

[[host]]
name = "daq1"
address = "10.0.0.1"
folder = "/data1"

[[host]]
name = "daq2"

[disk]
folder = "/data"

[zmq]
port_base = 51000
host = "10.0.0.9"

[stream]
host = "daq2"
pulse = "tcp://10.0.0.2:5000"

[control]
port_base = 52000
curve_keys = "/keys"
"""
)


def test_each_source_is_on_its_host_and_writes_to_its_folder() -> None:
    config = parse_config(HOSTS)
    found = [config.host_of(source) for source in config.sources]
    assert [(host.at, host.bind) for host in found if host] == [("10.0.0.1", "10.0.0.1"), ("daq2", "*")]
    assert [str(config.disk_folder(source)) for source in config.sources] == ["/data1", "/data"]


def test_workers_with_a_host_have_two_ports_each_in_the_order_of_the_file() -> None:
    config = parse_config(HOSTS.replace('host = "daq1"\n', "", 1))
    assert endpoint(config, "udp.M00") is None
    runtime = config.runtime_names
    own, module, stream = (reach(config, name) for name in ("udp.M00", "udp.M01", "stream"))
    assert own == (runtime.status("udp.M00"), runtime.command("udp.M00"), None)
    assert module == ("tcp://daq2:52002", "tcp://daq2:52003", own_keys(Path("/keys")))
    assert stream[:2] == ("tcp://daq2:52004", "tcp://daq2:52005")


@pytest.mark.parametrize(
    ("good", "bad", "line"),
    [
        ('host = "daq1"', 'host = "daq9"', "udp[0].host: found 'daq9', expected one of daq1, daq2"),
        ('host = "daq2"\npulse', 'host = "x"\npulse', "stream.host: found 'x', expected one of daq1, daq2"),
        ('name = "daq2"\n', 'name = "m01"\n', "host[1].name: 'm01' is also the name of the source M01; give it another"),
        ('name = "daq2"\n', 'name = "DAQ1"\n', "host[1].name: 'DAQ1' is also the name of host[0]; give it another"),
        ('"10.0.0.1"', '"tcp://daq1"', "host[0].address: found 'tcp://daq1', expected an IPv4 address or a name"),
        ('[control]\nport_base = 52000\ncurve_keys = "/keys"', "", "control: missing; hosts need its port_base and"),
        ("port_base = 51000\n", "", "zmq.port_base: missing; stream is on another host than M00, whose streams it reads: give"),
    ],
)  # fmt: skip
def test_what_does_not_agree_about_hosts_is_named(good: str, bad: str, line: str) -> None:
    assert good in HOSTS
    assert any(found.startswith(f"x.toml: {line}") for found in problems(HOSTS.replace(good, bad)))


def test_a_source_of_the_iocs_host_needs_an_address_that_others_reach() -> None:
    text = HOSTS.replace('host = "daq1"\n', "", 1)
    parse_config(text)
    (line,) = problems(text.replace('host = "10.0.0.9"\n', ""))
    assert "zmq.host: found '127.0.0.1', expected the address of the IOC's host that others reach; stream is on" in line


def test_a_camera_whose_frames_are_not_known_is_not_read_from_another_host() -> None:
    camera = '[detector]\nname = "D"\nprefix = "D:"\n[[pva]]\nname = "CAM"\npv = "C:IMAGE"\nhost = "daq1"\n'
    text = camera + HOSTS.partition('host = "daq1"')[2].partition("[[udp]]")[2].partition("\n\n")[2]
    assert any("pva.dtype, pva.shape: missing; stream is on another host than CAM" in line for line in problems(text))
    parse_config(text.replace('host = "daq1"\n', 'host = "daq1"\ndtype = "uint16"\nshape = [4, 4]\n', 1))


def test_each_host_whose_sources_write_has_a_keeper_behind_the_other_workers() -> None:
    config = parse_config(HOSTS)
    assert keepers(config) == {"keeper.daq1": "daq1", "keeper.daq2": "daq2"}
    found = [endpoint(config, keeper) for keeper in keepers(config)]
    assert [(one.host.name, one.status_port) for one in found if one] == [("daq1", 52006), ("daq2", 52008)]
    without_disk = HOSTS.replace('[disk]\nfolder = "/data"\n', "")
    assert without_disk != HOSTS
    assert keepers(parse_config(without_disk)) == {}


@pytest.mark.parametrize(
    ("roots", "expected"),
    [("", ["/data1", "/data"]), ('roots = ["/data", "/mnt"]\n', ["/data1 /data /mnt", "/data /mnt"])],
)
def test_clients_may_move_a_source_below_the_folder_of_its_host_and_the_roots(roots: str, expected: list[str]) -> None:
    config = parse_config(HOSTS.replace('[disk]\nfolder = "/data"\n', f'[disk]\nfolder = "/data"\n{roots}'))
    assert [" ".join(map(str, config.disk_roots(source))) for source in config.sources] == expected


def test_ports_of_control_must_exist() -> None:
    config = parse_config(HOSTS.replace("52000", "65527"))
    with pytest.raises(ConfigError, match="found 65527, expected at most 65526: 5 workers have two ports each"):
        endpoint(config, "udp.M00")


@pytest.mark.parametrize(
    "stream", ["", 'reduced = "tcp://127.0.0.1:9201"', 'full = "tcp://127.0.0.1:9200"\nparts = true']
)
def test_only_the_full_stream_of_whole_images_is_compressed(stream: str) -> None:
    found = problems(f'{GOOD}[stream]\ncompression = "bslz4"\n{stream}')
    assert any("stream: found compression 'bslz4', expected none with parts" in line for line in found), found
    config = parse_config(f'{GOOD}[stream]\ncompression = "bslz4"\nfull = "tcp://127.0.0.1:9200"')
    assert config.stream is not None
    assert (config.stream.compression, config.stream.compression_threads) == ("bslz4", 2)


def test_images_are_compressed_for_those_who_have_the_same_ones() -> None:
    both = f"""{GOOD}[[pva]]\nname = "CAM"\npv = "X"\n[stream]\nfull = "tcp://127.0.0.1:9200"\ncompression = """
    config = parse_config(f'{both}"bslz4"')
    assert config.is_compressed(config.udp, None)
    assert not config.is_compressed(config.pva, None)
    assert not config.is_compressed(config.udp, "daq2")
    assert not parse_config(f'{both}"none"').is_compressed(config.udp, None)
