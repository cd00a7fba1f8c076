from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from detectors.sources.datadev import ReceiveBuffers, parse_datadev, read_datadev

CARD = """
-------------- Axi Version ----------------
     Firmware Version : 0x4000000
        Up Time Count : 42

-------------- General --------------------
          Dma Version : 0x6
          Git Version : 5.7.0

-------------- Read Buffers ---------------
         Buffer Count : 1024
          Buffer Size : 131072
          Buffer Mode : 1
      Buffers In User : 0
        Buffers In Hw : 1024

-------------- Write Buffers ---------------
         Buffer Count : 16
          Buffer Size : 4096
          Buffer Mode : 1
"""


def test_the_receive_buffers_are_those_that_are_read() -> None:
    found = parse_datadev(CARD, "datadev_0")
    assert found == ReceiveBuffers("datadev_0", 1024, 131072)
    assert found.total_bytes == 1 << 27


def test_a_text_that_says_something_else_is_no_card() -> None:
    for text in ("", CARD.replace("Read", "Reed"), CARD.replace("1024", "many"), CARD.replace("131072", "0")):
        assert parse_datadev(text, "datadev_0") is None


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    parse_datadev(text, "x")
    parse_datadev("-- Read Buffers --\n" + text, "x")


def test_cards_are_read_in_order_and_their_absence_is_normal(tmp_path: Path) -> None:
    assert list(read_datadev(tmp_path)) == []
    (tmp_path / "datadev_1").write_text(CARD.replace("1024", "512"))
    (tmp_path / "datadev_0").write_text(CARD)
    (tmp_path / "datadev_2").write_text("resetting")
    (tmp_path / "datadev_3").mkdir()
    assert [(c.device, c.count) for c in read_datadev(tmp_path)] == [("datadev_0", 1024), ("datadev_1", 512)]
