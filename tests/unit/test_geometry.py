import pytest

from detectors.errors import ConfigError
from detectors.geometry import GEOMETRIES, ModuleGeometry


@pytest.mark.parametrize(
    ("name", "shape", "packets", "packet_bytes"),
    [
        ("jungfrau", (512, 1024), 128, 8192),
        ("jungfrau-half", (256, 1024), 64, 8192),
        ("eiger-4", (256, 512), 16, 4096),
        ("eiger-8", (256, 512), 32, 4096),
        ("eiger-12", (256, 512), 48, 4096),
        ("eiger-16", (256, 512), 64, 4096),
        ("eiger-32", (256, 512), 128, 4096),
        ("eiger-4-1g", (256, 512), 64, 1024),
        ("eiger-8-1g", (256, 512), 128, 1024),
        ("eiger-12-1g", (256, 512), 192, 1024),
        ("eiger-16-1g", (256, 512), 256, 1024),
        ("eiger-32-1g", (256, 512), 512, 1024),
    ],
)
def test_ports_are_as_the_vendor_has_them(name: str, shape: tuple[int, int], packets: int, packet_bytes: int):
    geometry = GEOMETRIES[name]
    assert (geometry.shape, geometry.packets_per_frame, geometry.packet_data_bytes) == (shape, packets, packet_bytes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packets_per_frame": 513}, "expected 1 to 512"),
        ({"packets_per_frame": 3}, "do not divide into 3 equal packets"),
        ({"dtype": "uint24"}, "expected one of .*uint12p"),
        ({"dtype": "uint12p", "rows": 5, "cols": 5, "packets_per_frame": 1}, "an even number"),
        ({"chip_rows": 100}, "expected a divisor of 256"),
        ({"chip_cols": 300}, "expected a divisor of 512"),
        ({"gap": -1}, "gap: found -1"),
        ({"chip_rows": 1, "chip_cols": 1}, "found 131072 chips in a frame, expected at most 4096"),
    ],
)
def test_an_irregular_geometry_is_refused(change: dict[str, object], message: str):
    table: dict[str, object] = {"rows": 256, "cols": 512, "dtype": "uint16", "packets_per_frame": 64}
    with pytest.raises(ConfigError, match=message):
        ModuleGeometry("custom", "sls", **(table | change))  # type: ignore[arg-type]


def test_packets_may_be_half_a_row():
    assert ModuleGeometry("custom", "sls", 256, 512, "uint32", 512).packet_data_bytes == 1024
