"""Types and values: whatever the tests' own encoder writes is read back, and nothing but PvaError comes of damage."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.pva import pvdata
from detectors.pva.encoding import PvaError, Reader
from detectors.pva.pvdata import TypeCache, default_value, read_changed, read_value
from detectors.pva.repeats import Repeats
from sim.pva_encode import CODES, NTNDARRAY, Encoder, ntndarray

LIMITS = {name: np.iinfo(code) for name, (_, code) in CODES.items() if code not in "?fd"}
NAMES = st.text("abcdefgh", min_size=1, max_size=6)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def scalars(name: str) -> st.SearchStrategy:
    if name == "boolean":
        return st.booleans()
    if name in ("float", "double"):
        return st.floats(allow_nan=False, width=32 if name == "float" else 64)
    return st.integers(int(LIMITS[name].min), int(LIMITS[name].max))


LEAVES = st.one_of(
    st.sampled_from([*CODES, *(f"{name}[]" for name in CODES), "string", "string[]", "any", "any[]"]),
    st.tuples(st.just("bounded string"), st.integers(80, 300)),
    st.tuples(st.sampled_from([f"bounded {name}" for name in CODES]), st.integers(8, 300)),
    st.tuples(st.sampled_from([f"fixed {name}" for name in CODES]), st.integers(0, 5)),
)


def composites(children: st.SearchStrategy) -> st.SearchStrategy:
    fields = st.dictionaries(NAMES, children, max_size=4)
    some = st.dictionaries(NAMES, children, min_size=1, max_size=4)
    return st.one_of(
        st.tuples(st.sampled_from(["struct", "struct[]"]), TEXT, fields),
        st.tuples(st.sampled_from(["union", "union[]"]), TEXT, some),
    )


TYPES = st.recursive(LEAVES, composites, max_leaves=12)
STRUCTURES = st.tuples(st.just("struct"), TEXT, st.dictionaries(NAMES, TYPES, max_size=5))


@st.composite
def values(draw: st.DrawFn, kind: Any) -> Any:
    """A value as the encoder takes it."""
    if kind == "any":
        return draw(
            st.none()
            | LEAVES.filter(lambda k: k not in ("any", "any[]")).flatmap(lambda k: st.tuples(st.just(k), values(k)))
        )
    if kind == "string":
        return draw(TEXT)
    if isinstance(kind, str) and not kind.endswith("[]"):
        return draw(scalars(kind))
    if isinstance(kind, str):
        element = kind.removesuffix("[]")
        return draw(st.lists(values(element), max_size=5))
    what, *rest = kind
    if what == "bounded string":
        return draw(TEXT)
    if what.startswith("bounded "):
        return draw(st.lists(scalars(what.split()[1]), max_size=5))
    if what.startswith("fixed "):
        return draw(st.lists(scalars(what.split()[1]), min_size=rest[0], max_size=rest[0]))
    if what.endswith("[]"):
        return draw(st.lists(st.none() | values((what[:-2], *rest)), max_size=4))
    fields = rest[1]
    if what == "struct":
        return {name: draw(values(field)) for name, field in fields.items()}
    return draw(st.none() | st.sampled_from(list(fields)).flatmap(lambda n: st.tuples(st.just(n), values(fields[n]))))


def plain(kind: Any, value: Any) -> Any:
    """What the parser shall make of it."""
    if value is None:
        return None
    if kind == "any":
        return plain(*value)
    if kind == "any[]":
        return [plain("any", v) for v in value]
    if isinstance(kind, str):
        return value
    what, *rest = kind
    if what.endswith("[]"):
        return [plain((what[:-2], *rest), v) for v in value]
    if what == "struct":
        return {name: plain(field, value[name]) for name, field in rest[1].items()}
    return plain(rest[1][value[0]], value[1]) if what == "union" else value


def same(found: Any, expected: Any) -> bool:
    if isinstance(found, np.ndarray):
        return found.dtype.isnative and found.tolist() == list(expected)
    if isinstance(found, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)


@st.composite
def typed_values(draw: st.DrawFn, types: st.SearchStrategy = TYPES) -> tuple[Any, Any]:
    kind = draw(types)
    return kind, draw(values(kind))


@given(typed_values(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(typed: tuple[Any, Any], big: bool) -> None:
    kind, value = typed
    e = Encoder(big=big)
    reader = Reader(e.type(kind) + e.value(kind, value) + b"rest", big=big)
    cache = TypeCache()
    desc = cache.read(reader)
    assert desc is not None
    assert same(read_value(reader, desc, cache), plain(kind, value))
    assert bytes(reader.take(4)) == b"rest"
    default_value(desc)


@given(typed_values(), st.booleans(), st.data())
@settings(max_examples=100, deadline=None)
def test_truncation_anywhere_is_a_wire_error(typed: tuple[Any, Any], big: bool, data: st.DataObject) -> None:
    kind, value = typed
    e = Encoder(big=big)
    whole = e.type(kind) + e.value(kind, value)
    reader = Reader(whole[: data.draw(st.integers(0, len(whole) - 1))], big=big)
    cache = TypeCache()
    with pytest.raises(PvaError):  # noqa: PT012 - the type may be all there, or not
        desc = cache.read(reader)
        assert desc is not None
        read_value(reader, desc, cache)


@given(typed_values(), st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_corruption_is_a_wire_error_or_another_value(typed: tuple[Any, Any], big: bool, data: st.DataObject) -> None:
    kind, value = typed
    e = Encoder(big=big)
    damaged = bytearray(e.type(kind) + e.value(kind, value))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_anything(damaged, big=big)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=500, deadline=None)
def test_noise_is_a_wire_error_or_a_value(noise: bytes, big: bool) -> None:
    read_anything(noise, big=big)


def read_anything(data: bytes | bytearray, *, big: bool) -> None:
    reader, cache = Reader(data, big=big, budget=10_000), TypeCache()
    try:
        desc = cache.read(reader)
        if desc is not None:
            default_value(desc)
            read_value(reader, desc, cache)
    except PvaError:
        pass
    else:
        assert reader.pos <= len(data)


@given(typed_values(STRUCTURES), st.booleans(), st.data())
@settings(max_examples=80, deadline=None)
def test_only_marked_fields_change(typed: tuple[Any, Any], big: bool, data: st.DataObject) -> None:
    kind, old = typed
    new = data.draw(values(kind))
    e, cache = Encoder(big=big), TypeCache()
    desc = cache.read(Reader(e.type(kind), big=big))
    assert desc is not None
    changed = data.draw(st.integers(0, (1 << desc.bits) - 1))
    payload, expected = marked(e, kind, (old, new), changed)
    before = plain(kind, old)
    reader = Reader(payload, big=big)
    found = read_changed(reader, desc, changed, before, cache)
    assert same(found, expected)
    assert same(before, plain(kind, old))
    assert reader.pos == len(payload)


@given(STRUCTURES.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(values(kind), max_size=3))), st.data())
@settings(max_examples=80, deadline=None)
def test_what_comes_again_is_what_it_was(typed: tuple[Any, list[Any]], data: st.DataObject) -> None:
    kind, choices = typed
    cache, repeats = TypeCache(), Repeats()
    desc = cache.read(Reader(Encoder().type(kind), big=False))
    assert desc is not None
    found: dict[str, Any] = default_value(desc)
    for value in data.draw(st.lists(st.sampled_from(choices), max_size=6)) if choices else []:
        big = data.draw(st.booleans())
        payload = Encoder(big=big).value(kind, value)
        reader = Reader(payload + b"\0\xff", big=big)
        found = repeats.read(reader, desc, 1, found, cache, skip=0)
        assert same(found, plain(kind, value))
        assert reader.pos == len(payload)


def test_a_type_id_that_is_given_anew_makes_the_same_bytes_another_value() -> None:
    e, cache, repeats = Encoder(), TypeCache(), Repeats()
    desc = cache.read(Reader(e.type(("struct", "", {"a": "any", "b": "any"})), big=False))
    assert desc is not None
    by_id = b"\xfe\x01\0" + b"\xff\xff\xff\xff"
    for code, expected in (("int", -1), ("uint", 0xFFFF_FFFF)):
        payload = e.type(("as", 1, code)) + b"\0\0\0\0" + by_id
        assert repeats.read(Reader(payload, big=False), desc, 1, {}, cache, skip=0)["b"] == expected


def marked(e: Encoder, kind: Any, values_: tuple[Any, Any], changed: int, bit: int = 0) -> tuple[bytes, Any]:
    """Encode and predict a change from an old value to a new one, field by field."""
    old, new = values_
    if changed >> bit & 1:
        return e.value(kind, new), plain(kind, new)
    if kind[0] != "struct":
        return b"", plain(kind, old)
    payload, expected = b"", {}
    bit += 1
    for name, field in kind[2].items():
        part, expected[name] = marked(e, field, (old[name], new[name]), changed, bit)
        payload += part
        bit += bits(field)
    return payload, expected


def bits(kind: Any) -> int:
    return 1 + sum(map(bits, kind[2].values())) if kind[0] == "struct" else 1


@given(st.integers(0, 1 << 200), st.booleans())
def test_bit_sets(number: int, big: bool) -> None:
    assert Reader(Encoder(big=big).bits(number), big=big).bit_set() == number


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("size", [0, 253, 254, 255, 0x7FFFFFFE, None])
def test_sizes(size: int | None, big: bool) -> None:
    assert Reader(Encoder(big=big).size(size), big=big).size() == (-1 if size is None else size)


def test_an_ntndarray() -> None:
    value = ntndarray(np.arange(6, dtype=np.uint16).reshape(2, 3), 7, {"ColorMode": 0})
    e, cache = Encoder(), TypeCache()
    reader = Reader(e.type(NTNDARRAY) + e.value(NTNDARRAY, value), big=False)
    desc = cache.read(reader)
    assert desc is not None
    assert desc.id == "epics:nt/NTNDArray:1.0"
    found = read_value(reader, desc, cache)
    assert found["value"].tolist() == [0, 1, 2, 3, 4, 5]
    assert [d["size"] for d in found["dimension"]] == [3, 2]
    assert found["attribute"][0]["value"] == 0


def test_types_are_remembered_by_their_ids() -> None:
    e, cache = Encoder(), TypeCache()
    inner = ("struct", "time_t", {"s": "long"})
    kind = ("as", 1, ("struct", "", {"a": ("as", 2, inner), "b": ("cached", 2), "c": ("any")}))
    desc = cache.read(Reader(e.type(kind), big=False))
    assert desc is not None
    assert desc.fields[0] == desc.fields[1]
    assert cache.read(Reader(e.type(("cached", 1)), big=False)) == desc
    with pytest.raises(PvaError, match="id 3"):
        cache.read(Reader(e.type(("cached", 3)), big=False))


def test_nesting_is_bounded_however_it_is_written() -> None:
    e = Encoder()
    deep: Any = "int"
    for _ in range(pvdata.MAX_DEPTH + 2):
        deep = ("struct", "", {"a": deep})
    with pytest.raises(PvaError, match="nested"):
        TypeCache().read(Reader(e.type(deep), big=False))
    cache = TypeCache()
    chain = e.type(("as", 0, ("struct", "", {"a": "int"})))
    for number in range(1, 200):
        chain += e.type(("as", number, ("struct", "", {"a": ("cached", number - 1)})))
    reader = Reader(chain, big=False)
    with pytest.raises(PvaError, match="nested"):
        [cache.read(reader) for _ in range(200)]
    variants = Reader(b"\x82" * 100_000, big=False)
    with pytest.raises(PvaError, match="nested"):
        read_value(variants, pvdata.FieldDesc(pvdata.ANY), TypeCache())


def test_doubling_types_are_refused() -> None:
    e, cache = Encoder(), TypeCache()
    chain = e.type(("as", 0, ("struct", "", {"a": "int", "b": "int"})))
    for number in range(1, 20):
        chain += e.type(("as", number, ("struct", "", {"a": ("cached", number - 1), "b": ("cached", number - 1)})))
    reader = Reader(chain, big=False)
    with pytest.raises(PvaError, match="fields"):
        [cache.read(reader) for _ in range(20)]


def test_types_that_variants_bring_along_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pvdata, "MAX_FIELDS", 3)
    e, cache = Encoder(), TypeCache()
    variant = ("struct", "", {"a": "int", "b": "int"})
    for _ in range(10):
        assert cache.read(Reader(e.type(variant), big=False)) is not None
    with pytest.raises(PvaError, match="type of more than 3 fields"):
        cache.read(Reader(e.type(("struct", "", dict.fromkeys("abc", "int"))), big=False))


def test_types_with_ids_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pvdata, "MAX_FIELDS", 3)
    e, cache = Encoder(), TypeCache()
    for _ in range(10):  # the same id again replaces what it stood for
        cache.read(Reader(e.type(("as", 1, ("struct", "", {"a": "int"}))), big=False))
    cache.read(Reader(e.type(("as", 2, "int")), big=False))
    with pytest.raises(PvaError, match="described on one connection"):
        cache.read(Reader(e.type(("as", 3, "int")), big=False))


def test_a_message_can_only_make_so_many_values() -> None:
    e, cache = Encoder(), TypeCache()
    wide = ("struct", "", {f"f{i}": ("struct", "", {}) for i in range(200)})
    desc = cache.read(Reader(e.type(("struct[]", *wide[1:])), big=False))
    assert desc is not None
    with pytest.raises(PvaError, match="more values"):
        read_value(Reader(e.size(10_000) + b"\1" * 10_000, big=False), desc, cache)
