"""Updates read with what repeats left out, against the same ones read in full."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.pva import repeats
from detectors.pva.encoding import PvaError, Reader
from detectors.pva.pvdata import FieldDesc, TypeCache, default_value, read_changed
from detectors.pva.repeats import Repeats
from sim.pva_encode import NTNDARRAY, Encoder, ntndarray


def image(number: int, attribute: int | None = None, rows: int = 2) -> bytes:
    """An NTNDArray without its pixels, as their connection leaves it."""
    fields = ntndarray(np.zeros((rows, 3), np.uint16), number, {} if attribute is None else {"exposure": attribute})
    return b"".join(Encoder().value(kind, fields[name]) for name, kind in NTNDARRAY[2].items() if name != "value")


class Channel:
    """A channel's type, and its updates read one after another."""

    def __init__(self) -> None:
        self.cache, self.repeats = TypeCache(), Repeats()
        desc = self.cache.read(Reader(Encoder().type(NTNDARRAY), big=False))
        assert desc is not None
        self.desc: FieldDesc = desc
        self.fields: dict[str, Any] = default_value(desc)

    def read(self, payload: bytes, *, plainly: bool = False) -> tuple[dict[str, Any], int]:
        """Return the fields of an update and how many bytes they took."""
        reader = Reader(payload, big=False)
        read = read_changed if plainly else self.repeats.read
        self.fields = read(reader, self.desc, 1, self.fields, self.cache, skip=1)
        return self.fields, reader.pos


IMAGES = st.builds(image, st.integers(-9, 9), st.sampled_from([None, None, 1]), st.sampled_from([2, 2, 5]))
DAMAGE = st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=2)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(IMAGES, DAMAGE, st.sampled_from([None, None, 5, 60])), max_size=6))
def test_it_reads_what_is_read_in_full(updates: list[tuple[bytes, list[tuple[int, int]], int | None]]) -> None:
    ours, plain = Channel(), Channel()
    for payload, damage, cut in updates:
        changed = bytearray(payload)
        for place, byte in damage:
            changed[place % len(changed)] = byte
        sent = bytes(changed)[:cut]
        try:
            expected = plain.read(sent, plainly=True)
        except PvaError as error:
            with pytest.raises(type(error)):
                ours.read(sent)
            return  # as a connection does
        assert repr(ours.read(sent)) == repr(expected)


def test_nothing_is_decoded_of_an_update_that_differs_in_numbers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel()
    channel.read(image(1))
    monkeypatch.setattr(repeats, "read_changed", None)
    fields, _ = channel.read(image(2))
    assert (fields["uniqueId"], fields["dataTimeStamp"]["nanoseconds"]) == (2, 2)
