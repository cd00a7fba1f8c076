"""The screens: what their files have in them, and that those which are shipped are up to date."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import XML, Element

import pytest

from detectors.config import Config, load_config, parse_config
from ioc.screens.everything import files, screens
from ioc.screens.look import GOOD, INVALID, MAJOR, QUIET
from ioc.screens.phoebus import bob
from ioc.screens.pydm import ui
from ioc.screens.states import colours
from ioc.screens.widgets import Label, Lamp, Open, Panel, Picture, ScreenPlan
from ioc.templates import loads
from tests.unit.ioc.screens.bob_widgets import PROPERTIES, VERSIONS

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
SHIPPED = ROOT / "examples" / "both.toml"


def parsed(text: str) -> Element:
    return XML(text)


def expanded(text: str, macros: dict[str, str]) -> str:
    return re.sub(r"\$[({](\w+)[)}]", lambda macro: macros[macro[1]], text)


def sources(count: int) -> Config:
    """A detector of so many modules."""
    modules = "".join(f'[[udp]]\nname = "M{n:02}"\nport = {50000 + n}\n' for n in range(count))
    return parse_config(f'[detector]\nname = "BIG"\nprefix = "BIG:"\n{modules}[images]\n', "test")


@pytest.fixture(params=[*EXAMPLES, 1, 9, 72], ids=lambda p: getattr(p, "stem", p))
def config(request: pytest.FixtureRequest) -> Config:
    return sources(request.param) if isinstance(request.param, int) else load_config(request.param)


def served(config: Config) -> set[str]:
    """Names of everything that the IOC of a configuration and its workers serve."""
    found = {name for load in loads(config) for name in load.names()}
    images = [load.macros["P"] + load.macros["R"] for load in loads(config) if load.file == "pva1.template"]
    return found | {pvs + name for pvs in images for name in ("Image", "Preview")}


def addresses(text: str) -> Iterator[str]:
    """Every name of a PV in a ``.bob``, without the data source, and those within a formula."""
    for element in parsed(text).iter("pv_name"):
        assert element.text
        yield from re.findall(r"`([^`]+)`", element.text) or [element.text.removeprefix("pva://")]


def test_the_shipped_ones_are_up_to_date() -> None:
    written = {path.name: text for path, text in files(load_config(SHIPPED))}
    found = {path.name: path.read_text() for path in (ROOT / "screens").iterdir()}
    assert found == written, "run: pebbledaq screens examples/both.toml"


def test_every_pv_is_served(config: Config) -> None:
    for screen in screens(config):
        wanted = {expanded(pv, dict(screen.macros)) for pv in addresses(bob(screen))}
        assert wanted - served(config) == set(), screen.name
        assert {expanded(pv, dict(screen.macros)) for pv in screen.pvs()} == wanted


def test_every_source_is_on_the_overview_in_the_colour_of_its_state(config: Config) -> None:
    overview = next(screen for screen in screens(config) if screen.name == "overview")
    lamps = {widget.pv for widget in overview.widgets if isinstance(widget, Lamp)}
    assert {f"$(P){source.name}:State_RBV" for source in (*config.udp, *config.pva)} <= lamps
    assert "$(P)Alarm_RBV" in lamps
    assert "$(P)Health_RBV" in set(overview.pvs())


def test_every_host_is_on_the_overview_with_its_clock() -> None:
    overview = screens(load_config(ROOT / "examples" / "hosts.toml"))[0]
    for host in ("daq1", "daq2"):
        assert {f"$(P){host}:{name}_RBV" for name in ("State", "WorkersResponding", "Clock:Offset", "Message")} <= set(
            overview.pvs()
        )


def test_every_host_that_keeps_data_is_on_the_screen_of_the_retention() -> None:
    found = next(s for s in screens(load_config(ROOT / "examples" / "hosts.toml")) if s.name == "retention")
    expected = {
        f"$(P){host}:Retention:{name}_RBV" for host in ("daq1", "daq2") for name in ("State", "Held", "Message")
    }
    assert expected <= set(found.pvs())


def test_phoebus_knows_every_widget_and_property(config: Config) -> None:
    for screen in screens(config):
        for widget in parsed(bob(screen)).iter("widget"):
            kind = str(widget.get("type"))
            assert kind in PROPERTIES
            assert widget.get("version") == VERSIONS.get(kind, "2.0.0")
            assert {child.tag for child in widget} - PROPERTIES[kind] == set(), f"{screen.name}: {kind}"


def test_all_widgets_are_within_the_screen_and_texts_do_not_overlap(config: Config) -> None:
    for screen in screens(config):
        words = [w for w in screen.widgets if not isinstance(w, Panel | Lamp | Picture | Open)]
        for widget in screen.widgets:
            x, y, width, height = widget.box
            assert x >= 0 <= y, f"{screen.name}: {widget}"
            assert width > 0 < height, f"{screen.name}: {widget}"
            assert x + width <= screen.width, f"{screen.name}: {widget}"
            assert y + height <= screen.height, f"{screen.name}: {widget}"
        for number, one in enumerate(words):
            assert not [two for two in words[:number] if overlap(one.box, two.box)], f"{screen.name}: {one}"


def overlap(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> bool:
    apart = one[0] + one[2] <= two[0] or two[0] + two[2] <= one[0]
    return not apart and one[1] < two[1] + two[3] and two[1] < one[1] + one[3]


def test_a_link_leads_to_a_screen_with_the_macros_that_it_needs(config: Config) -> None:
    found = {screen.name: screen for screen in screens(config)}
    links = [w for screen in found.values() for w in screen.widgets if isinstance(w, Open)]
    assert {link.screen for link in links} == found.keys() - {"overview"}
    for link in links:
        assert {"P", *link.macros} == found[link.screen].macros.keys()


def test_a_form_for_pydm_has_every_pv_and_pydms_form_of_macros(config: Config) -> None:
    for screen in screens(config):
        text = ui(screen)
        assert "$(" not in text
        form = parsed(text)
        named = {
            found.text
            for name in ("channel", "imageChannel")
            for found in form.iterfind(f".//*[@name='{name}']/string")
        }
        known = "\n".join(str(name) for name in named).replace("{", "(").replace("}", ")")
        assert [pv for pv in screen.pvs() if f"://{pv}" not in known] == []
        customs = {str(found.text) for found in form.iterfind("customwidgets/customwidget/class")}
        assert {str(w.get("class")) for w in form.iter("widget")} - customs <= {"QWidget", "QFrame", "QLabel"}


def test_a_screen_without_images_or_files_says_which_table_is_missing() -> None:
    config = parse_config('[detector]\nname = "A"\nprefix = "A:"\n[[udp]]\nname = "M00"\nport = 50000\n', "test")
    (overview, *_) = found = screens(config)
    assert [screen.name for screen in found] == ["overview", "module", "expert"]
    texts = {widget.text for widget in overview.widgets if isinstance(widget, Label)}
    assert "This configuration has no table [images]." in texts
    assert "This configuration has no table [hdf5]." in texts


def test_states_have_the_colours_of_their_alarms() -> None:
    states = ("Off", "Starting", "Idle", "Receiving", "Stalled", "Failed", "Stopped")
    found = dict(zip(states, colours("module.template", "State_RBV"), strict=True))
    assert (found["Receiving"], found["Idle"]) == (GOOD, QUIET)
    assert found["Stalled"] == found["Failed"] == MAJOR
    assert colours("detector.template", "Alarm_RBV")[-1] == INVALID


def test_a_text_of_a_screen_cannot_break_its_file() -> None:
    text = 'a <b> & "c"'
    screen = ScreenPlan("x", text, 100, 100, {"P": text}, ())
    assert parsed(bob(screen)).findtext("name") == text
    assert parsed(ui(screen)).findtext("widget/property[@name='windowTitle']/string") == text
