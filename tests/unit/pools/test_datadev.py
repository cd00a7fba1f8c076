from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.pools.datadev import DriverRing, parse_datadev, read_datadev

NEW = """
---------- DMA Firmware General ----------
          Buffer Count : 7

-------- DMA Kernel Driver General --------
 DMA Driver's Git Version : abc

---- Read Buffers (Firmware->Software) ----
         Buffer Count : 1024
          Buffer Size : 131072
          Buffer Mode : 1
      Buffers In User : 0

---- Write Buffers (Software->Firmware) ---
         Buffer Count : 16
          Buffer Size : 4096
"""
OLD = NEW.replace("---- Read Buffers (Firmware->Software) ----", "-------------- Read Buffers ---------------")


@pytest.mark.parametrize("text", [NEW, OLD], ids=["new", "old"])
def test_the_receive_ring_is_that_of_the_read_buffers(text: str):
    assert parse_datadev(text, "x") == DriverRing("x", 1024, 131072)


@pytest.mark.parametrize(
    "text", ["", NEW.replace("Read", "Red"), NEW.replace("1024", "0"), NEW.replace("131072", "many")]
)
def test_a_text_without_one(text: str):
    assert parse_datadev(text, "x") is None


@given(st.text())
def test_any_text_is_taken(text: str):
    parse_datadev(text, "x")
    parse_datadev("--- Read Buffers ---\n" + text, "x")


def test_the_first_card_with_a_ring(tmp_path: Path):
    assert read_datadev(tmp_path) is None
    (tmp_path / "datadev_0").write_text("resetting\n")
    (tmp_path / "datadev_1").mkdir()
    (tmp_path / "datadev_2").write_text(NEW)
    (tmp_path / "datadev_3").write_text(NEW.replace("1024", "512"))
    assert read_datadev(tmp_path) == DriverRing(str(tmp_path / "datadev_2"), 1024, 131072)
