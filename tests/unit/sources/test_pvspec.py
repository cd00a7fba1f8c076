import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import ConfigError
from detectors.sources.pvspec import STRING_DTYPE, PvSpec, parse_pv_spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CAM:Image", PvSpec("det", "pva", "CAM:Image")),
        ("ca/CAM:Image", PvSpec("det", "ca", "CAM:Image")),
        ("axis=pva/CAM:Image.uniqueId", PvSpec("axis", "pva", "CAM:Image", "uniqueId")),
        ("CAM:Image.a.b", PvSpec("det", "pva", "CAM:Image", "a.b")),
        ("CAM:Wave,512", PvSpec("det", "pva", "CAM:Wave", firstdim=512)),
        ("x=ca/CAM:Wave.VAL,512", PvSpec("x", "ca", "CAM:Wave", "VAL", 512)),
        ("CAM:Image[512,1024](uint16)", PvSpec("det", "pva", "CAM:Image", shape=(512, 1024), dtype="uint16")),
        ("CAM:T.value[1](DOUBLE)", PvSpec("det", "pva", "CAM:T", "value", shape=(), dtype="float64")),
        ("CAM:W[9](float)", PvSpec("det", "pva", "CAM:W", shape=(9,), dtype="float32")),
        ("CAM:S[256](CHARSTR)", PvSpec("det", "pva", "CAM:S", shape=(256,), dtype=STRING_DTYPE)),
        ("CAM:Image[4,5]", PvSpec("det", "pva", "CAM:Image", shape=(4, 5))),
        ("CAM:T(double)", PvSpec("det", "pva", "CAM:T", dtype="float64")),
        ("CAM:T.f[10]", PvSpec("det", "pva", "CAM:T", "f", shape=(10,))),
        ("m=ca/CAM:Mode(string)", PvSpec("m", "ca", "CAM:Mode", dtype=STRING_DTYPE)),
        ("  CAM:Image ", PvSpec("det", "pva", "CAM:Image")),
    ],
)
def test_specifications(text: str, expected: PvSpec) -> None:
    assert parse_pv_spec(text, "det") == expected


def test_types_by_the_names_of_pvdata_and_of_numpy() -> None:
    pvdata = {
        "bool": "uint8", "byte": "int8", "short": "int16", "int": "int32", "long": "int64", "ubyte": "uint8",
        "ushort": "uint16", "uint": "uint32", "ulong": "uint64", "float": "float32", "double": "float64",
        "string": STRING_DTYPE,
    }  # fmt: skip
    numpy = {name: name for name in pvdata.values() if name != STRING_DTYPE}
    for name, dtype in (pvdata | numpy).items():
        assert parse_pv_spec(f"CAM:X[10]({name})", "det").dtype == dtype


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected [alias=]"),
        ("=CAM", "alias"),
        ("http/CAM", "provider 'http'"),
        ("CAM.", "field"),
        ("CAM.a..b", "field"),
        ("CAM,0", "firstdim '0'"),
        ("CAM,x", "firstdim 'x'"),
        ("CAM,", "firstdim ''"),
        ("CAM,4(uint16)", "expected [alias=]"),
        ("CAM(uint16)[4]", "expected [alias=]"),
        ("CAM()", "type ''"),
        ("CAM[512](pixel)", "type 'pixel'"),
        ("CAM[a](uint16)", "size 'a'"),
        ("CAM[](uint16)", "size ''"),
        ("CAM[-1](uint16)", "size '-1'"),
        ("CAM[99999999999,99999999999](uint16)", "fits in memory"),
        ("CAM 2", "expected [alias=]"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_pv_spec(text, "det")
    assert says in str(error.value)
    assert len(error.value.problems) == 1
    assert "\n" not in str(error.value)


@given(st.text(max_size=40) | st.text("aA:=/.,[]()1 ", max_size=20))
def test_any_text_is_a_specification_or_a_config_error(text: str) -> None:
    try:
        spec = parse_pv_spec(text, "det")
    except ConfigError:
        return
    assert spec.pv
    assert spec.alias
