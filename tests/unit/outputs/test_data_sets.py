from pathlib import Path

from detectors.config import parse_config
from detectors.outputs.data_sets import mapped_detector

CONFIG = """
[detector]
name = "JF"
prefix = "T:"
[disk]
folder = "/data"
roots = ["/data", "/more"]
[control]
port_base = 52000
curve_keys = "/keys"
[[host]]
name = "daq1"
folder = "/data1"
seen_at = "/net/daq1"
[[udp]]
name = "M00"
host = "daq1"
port = 50020
[[udp]]
name = "M01"
port = 50021
"""


def test_a_folder_that_was_moved_is_seen_below_the_same_mount():
    config = parse_config(CONFIG)

    def folders(first: str, second: str) -> list[Path]:
        roots = {"udp.M00": first, "udp.M01": second}
        return [module.folder for module in mapped_detector(config, config.udp, roots).modules]

    assert folders("/data1", "/data") == [Path("/net/daq1/JF/M00"), Path("/data/JF/M01")]
    assert folders("/data1/night", "/more") == [Path("/net/daq1/night/JF/M00"), Path("/more/JF/M01")]
    # Outside of what the host shows, its own path is all that is known.
    assert folders("/more", "/data")[0] == Path("/more/JF/M00")
