"""A screen as Phoebus's Display Builder reads it: ``.bob``."""

from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ioc.screens.look import (
    BUTTON,
    CHANGING,
    FIELD,
    FONT,
    INK,
    INVALID,
    MAJOR,
    MINOR,
    PAGE,
    PANEL,
    ROW,
    WHITE,
    Colour,
    Size,
)
from ioc.screens.widgets import (
    Alarm,
    Align,
    Bar,
    Choice,
    Entry,
    Label,
    Lamp,
    Open,
    Panel,
    Picture,
    PvText,
    ScreenPlan,
    Widget,
    Write,
)

_ALIGN: Final = {Align.LEFT: "0", Align.CENTRE: "1", Align.RIGHT: "2"}
_TOP, _MIDDLE = "0", "1"
_DECIMAL, _STRING = "1", "6"
"""Formats of Phoebus: so many decimal places, and arrays of characters as text."""

_SEVERITIES: Final = {
    Alarm.NONE: (),
    Alarm.SEVERITY: ((1, MINOR), (2, MAJOR), (3, INVALID), (4, INVALID)),
    Alarm.LOSS: ((1, MAJOR), (2, MAJOR), (3, INVALID), (4, INVALID)),
    Alarm.LAMP: ((3, INVALID), (4, INVALID)),
}
"""Colours by EPICS's severity; 4 is a PV that is not connected."""


def bob(screen: ScreenPlan) -> str:
    """Return the text of a ``.bob`` file."""
    display = Element("display", version="2.0.0")
    _put(display, "name", screen.title)
    macros = SubElement(display, "macros")
    for name, value in screen.macros.items():
        _put(macros, name, value)
    _put(display, "width", screen.width)
    _put(display, "height", screen.height)
    _colour(display, "background_color", PAGE)
    _put(display, "grid_visible", "false")
    for number, widget in enumerate(screen.widgets):
        _widget(display, number, widget)
    indent(display)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(display, encoding="unicode")}\n'


def _widget(display: Element, number: int, widget: Widget) -> None:
    match widget:
        case Panel():
            found = _new(display, "rectangle", number, widget)
            _colour(found, "background_color", widget.colour)
            _put(found, "line_width", 0)
        case Label():
            found = _new(display, "label", number, widget)
            _put(found, "text", widget.text)
            _type(found, widget.size, bold=widget.bold, align=widget.align)
            _colour(found, "foreground_color", widget.colour)
            _put(found, "wrap_words", "false")
        case PvText():
            _reading(_new(display, "textupdate", number, widget), widget)
        case Lamp():
            _lamp(_new(display, "multi_state_led", number, widget), widget)
        case Entry():
            found = _new(display, "textentry", number, widget, version="3.0.0")
            _put(found, "pv_name", _address(widget.pv, long=widget.long))
            _type(found, Size.TEXT)
            _colour(found, "background_color", FIELD)
            if widget.long:
                _put(found, "format", _STRING)
        case Choice():
            found = _new(display, "combo", number, widget)
            _put(found, "pv_name", widget.pv)
            _type(found, Size.TEXT)
        case Write():
            _button(_new(display, "action_button", number, widget, version="3.0.0"), widget)
        case Open():
            _link(_new(display, "action_button", number, widget, version="3.0.0"), widget)
        case Bar():
            found = _new(display, "progressbar", number, widget)
            _put(found, "pv_name", widget.pv)
            _put(found, "limits_from_pv", "false")
            _put(found, "minimum", 0)
            _put(found, "maximum", widget.maximum)
            _colour(found, "fill_color", CHANGING)
            _colour(found, "background_color", FIELD)
        case Picture():
            _picture(_new(display, "image", number, widget), widget)


def _reading(found: Element, widget: PvText) -> None:
    _put(found, "pv_name", _divided(widget) if widget.divisor != 1 else _address(widget.pv, long=widget.long))
    _type(found, widget.size, bold=widget.bold, align=widget.align, top=widget.wraps)
    _colour(found, "foreground_color", widget.colour)
    _colour(found, "background_color", PANEL)
    _put(found, "transparent", "true")
    _put(found, "show_units", "true" if widget.units else "false")
    _put(found, "wrap_words", "true" if widget.long and widget.box.height > ROW else "false")
    _put(found, "border_alarm_sensitive", "false")
    if widget.long:
        _put(found, "format", _STRING)
    elif widget.divisor != 1:
        _put(found, "format", _DECIMAL)
        _put(found, "precision", 1)
    if severities := _SEVERITIES[widget.alarm]:
        rules = SubElement(found, "rules")
        _rule(rules, "background_color", widget, severities)
        _rule(rules, "foreground_color", widget, [(severity, WHITE) for severity, _ in severities])
        _rule(rules, "transparent", widget, [(severity, "false") for severity, _ in severities])


def _divided(widget: PvText) -> str:
    return f"=`{widget.pv}`/{widget.divisor:.0f}"


def _rule(rules: Element, name: str, widget: PvText, values: Iterable[tuple[int, Colour | str]]) -> None:
    rule = SubElement(rules, "rule", name=name, prop_id=name, out_exp="false")
    for severity, value in values:
        expression = SubElement(rule, "exp", bool_exp=f"pvSev0 == {severity}")
        if isinstance(value, str):
            _put(expression, "value", value)
        else:
            _colour(expression, "value", value)
    _put(rule, "pv_name", _address(widget.pv, long=widget.long))


def _lamp(found: Element, widget: Lamp) -> None:
    _put(found, "pv_name", widget.pv)
    _put(found, "square", "true")
    _put(found, "border_alarm_sensitive", "false")
    states = SubElement(found, "states")
    for number, colour in enumerate(widget.colours):
        state = SubElement(states, "state")
        _put(state, "value", number)
        _put(state, "label", "")
        _colour(state, "color", colour)
    _put(found, "fallback_label", "")
    _colour(found, "fallback_color", INVALID)
    _colour(found, "line_color", PANEL)


def _button(found: Element, widget: Write) -> None:
    actions = SubElement(found, "actions")
    action = SubElement(actions, "action", type="write_pv")
    _put(action, "pv_name", widget.pv)
    _put(action, "value", widget.value)
    _put(action, "description", widget.text)
    _put(found, "pv_name", widget.pv)
    _put(found, "text", widget.text)
    _type(found, Size.TEXT)
    _colour(found, "background_color", BUTTON)
    if widget.question:
        _put(found, "confirm_dialog", "true")
        _put(found, "confirm_message", widget.question)


def _link(found: Element, widget: Open) -> None:
    actions = SubElement(found, "actions")
    action = SubElement(actions, "action", type="open_display")
    _put(action, "file", f"{widget.screen}.bob")
    _put(action, "target", "window")
    macros = SubElement(action, "macros")
    for name, value in {"P": "$(P)", **widget.macros}.items():
        _put(macros, name, value)
    _put(action, "description", widget.text)
    _put(found, "text", widget.text)
    _type(found, Size.TEXT, bold=widget.on_lamp)
    _colour(found, "foreground_color", WHITE if widget.on_lamp else INK)
    _colour(found, "background_color", BUTTON)
    if widget.on_lamp:
        _put(found, "transparent", "true")


def _picture(found: Element, widget: Picture) -> None:
    _put(found, "pv_name", f"pva://{widget.pv}")
    _put(found, "autoscale", "true")
    _put(found, "show_toolbar", "false")
    bar = SubElement(found, "color_bar")
    _put(bar, "visible", "true")
    for name in ("x_axis", "y_axis"):
        axis = SubElement(found, name)
        _put(axis, "visible", "false")
        _put(axis, "title", "")


def _address(pv: str, *, long: bool) -> str:
    """Return what Phoebus calls a PV: long texts are strings only over PV Access."""
    return f"pva://{pv}" if long else pv


def _new(display: Element, kind: str, number: int, widget: Widget, version: str = "2.0.0") -> Element:
    found = SubElement(display, "widget", type=kind, version=version)
    _put(found, "name", f"{type(widget).__name__} {number}")
    for name, value in widget.box._asdict().items():
        _put(found, name, value)
    return found


def _type(found: Element, size: Size, *, bold: bool = False, align: Align | None = None, top: bool = False) -> None:
    font = SubElement(found, "font")
    SubElement(font, "font", family=FONT, style="BOLD" if bold else "REGULAR", size=f"{size.value}.0")
    if align is not None:
        _put(found, "horizontal_alignment", _ALIGN[align])
        _put(found, "vertical_alignment", _TOP if top else _MIDDLE)


def _colour(parent: Element, name: str, colour: Colour) -> None:
    SubElement(SubElement(parent, name), "color", red=str(colour.red), green=str(colour.green), blue=str(colour.blue))


def _put(parent: Element, name: str, value: object) -> None:
    SubElement(parent, name).text = str(value)
