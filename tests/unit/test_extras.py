"""What a user reads who lacks a package of an extra: one line that names the extra. Everything else goes on."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from detectors import extras
from detectors.buffer.reader import BufferReader
from detectors.cluster.dask_workers import workers
from detectors.config import parse_config
from detectors.errors import HostError, WireError
from detectors.image_head import ImageHead
from detectors.outputs.hdf5.copy import write_file
from detectors.outputs.hdf5.filters import compression
from detectors.outputs.hdf5.selection import PulseRange
from detectors.sources.codecs import decode
from detectors.verify import verify
from detectors.wire import bslz4
from detectors.wire.array10 import ImageHeader, decode_image, encode_header
from detectors.wire.encode import encode
from detectors.wire.ntndarray import ArrayHead
from detectors.workers.preflight import packages
from detectors.workers.preflight.checks import Request
from ioc.cli import read
from tests.unit.buffer.make import RawBuffer

EXTRAS = {name for packages in extras.PACKAGES.values() for name in packages}
IMAGE = np.zeros((8, 8), np.uint8)


NEEDS_WEB = {"detectors.workers.web.metrics", "detectors.workers.web.site"}
"""Modules that only the worker of the page imports, once it knows that its packages are there."""

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split()))
for top in ("ioc", "detectors", "db", "sim"):
    package = importlib.import_module(top)
    for module in pkgutil.walk_packages(package.__path__, top + "."):
        if module.name not in sys.argv[2].split() and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(len(sys.modules))
"""


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no package of an extra be found, as in an installation without any."""
    cached = extras.image_codecs, extras.hdf5_filters, bslz4._library
    for function in cached:
        function.cache_clear()
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("without_extras")
def test_the_message_says_what_is_missing_and_what_to_type() -> None:
    with pytest.raises(HostError) as caught:
        compression("bslz4", 1)
    message = "compression: found no package hdf5plugin, expected the extra codecs; pip install 'pebbledaq[codecs]'"
    assert str(caught.value) == message


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("name", ["blosc", "lz4"])
def test_compressed_files_need_codecs(name: str) -> None:
    with pytest.raises(HostError, match=r"pebbledaq\[codecs\]"):
        compression(name, 1)


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("name", ["none", "zlib"])
def test_files_without_them_need_no_extra(name: str) -> None:
    assert compression(name, 1).name == name


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("codec", ["blosc", "lz4", "bslz4", "zlib", "jpeg"])
def test_images_cannot_be_compressed(codec: str) -> None:
    with pytest.raises(HostError, match=r"pebbledaq\[codecs\]"):
        encode(codec, IMAGE)


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("codec", ["lz4", "bslz4", "zlib"])
def test_a_compressed_image_is_counted_as_bad_with_the_reason(codec: str) -> None:
    data, out = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    with pytest.raises(WireError, match=r"pebbledaq\[codecs\]"):
        decode(codec, data, out, ArrayHead((8, 8), out.dtype, out.nbytes, codec))


@pytest.mark.usefixtures("without_extras")
def test_an_image_from_a_compressed_stream_needs_codecs() -> None:
    header = ImageHeader(ImageHead(1), "JF", "uint8", IMAGE.shape, compression="bslz4")
    message = [encode_header(header), bslz4.CHUNK_HEADER.pack(IMAGE.nbytes, 8192)]
    with pytest.raises(HostError, match=r"pebbledaq\[codecs\]"):
        decode_image(message)


@pytest.mark.usefixtures("without_extras")
def test_a_cluster_needs_dask() -> None:
    with pytest.raises(HostError, match=r"--scheduler: .*pebbledaq\[dask\]"), workers("tcp://127.0.0.1:1", None):
        pass


@pytest.fixture
def raw(tmp_path: Path) -> RawBuffer:
    made = RawBuffer(tmp_path / "JF", modules=("M00",))
    made.put("M00", 10)
    return made


def test_a_picture_of_an_image_needs_codecs(raw: RawBuffer, tmp_path: Path, without_extras: None) -> None:
    done = CliRunner().invoke(read.command, [str(raw.folder), "10", "-o", str(tmp_path / "a.png")])
    assert isinstance(done.exception, HostError)
    assert "pip install 'pebbledaq[codecs]'" in str(done.exception)
    assert CliRunner().invoke(read.command, [str(raw.folder), "10"]).exit_code == 0


def test_a_compressed_file_cannot_be_verified(raw: RawBuffer, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    reader, plain, compressed = BufferReader(raw.folder), tmp_path / "plain.h5", tmp_path / "bslz4.h5"
    write_file(reader, PulseRange(10, 10), plain)
    write_file(reader, PulseRange(10, 10), compressed, compress="bslz4")
    request.getfixturevalue("without_extras")
    assert list(verify(reader, plain)) == []
    with pytest.raises(HostError, match=r"pebbledaq\[codecs\]"):
        list(verify(reader, compressed))


def test_every_command_starts_without_any_extra() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(EXTRAS), " ".join(NEEDS_WEB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_check_names_the_extra_that_a_configuration_needs(without_extras: None) -> None:
    asks = '[detector]\nname = "J"\nprefix = "T:"\n[[udp]]\nname = "M00"\nport = 5000\n[web]\n[hdf5]\nfolder = "/tmp"\ncompression = '
    found = [list(packages.check_packages(Request(parse_config(f'{asks}"{name}"'), 1.0))) for name in ("bslz4", "zlib")]
    streams = parse_config(f'{asks}"none"\n[stream]\nfull = "tcp://127.0.0.1:9200"\ncompression = "bslz4"')
    assert packages.needed_extras(streams)["codecs"] == '[stream] compression = "bslz4"'
    assert [[f.remedy for f in findings] for findings in found] == [
        ["pip install 'pebbledaq[codecs]'", "pip install 'pebbledaq[web]'"],
        ["pip install 'pebbledaq[web]'"],
    ]
    assert found[0][0].found == '[hdf5] compression = "bslz4" needs hdf5plugin, imagecodecs, not installed'


def test_the_packages_of_the_extras_are_the_declared_ones() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = {
        name: {re.split(r"[>=<]", line)[0] for line in project["optional-dependencies"][name]}
        for name in extras.PACKAGES
    }
    assert declared == {name: set(packages) for name, packages in extras.PACKAGES.items()}
