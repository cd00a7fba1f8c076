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
        ("  CAM:Image ", PvSpec("det", "pva", "CAM:Image")),
    ],
)
def test_specifications(text: str, expected: PvSpec) -> None:
    assert parse_pv_spec(text, "det") == expected


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
        ("CAM[512]", "expected [alias=]"),
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
