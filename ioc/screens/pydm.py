"""A screen as PyDM reads it: a form of Qt Designer, ``.ui``."""

import json
import re
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
    MUTED,
    PAGE,
    QUIET,
    ROW,
    WHITE,
    Colour,
    Size,
)
from ioc.screens.widgets import (
    Alarm,
    Align,
    Bar,
    Box,
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

_HEADERS: Final = {
    "PyDMLabel": "label",
    "PyDMMultiStateIndicator": "byte",
    "PyDMLineEdit": "line_edit",
    "PyDMEnumComboBox": "enum_combo_box",
    "PyDMPushButton": "pushbutton",
    "PyDMRelatedDisplayButton": "related_display_button",
    "PyDMScaleIndicator": "scale",
    "PyDMImageView": "image",
}
"""PyDM's widgets that are used, and their modules."""

_ALIGN: Final = {Align.LEFT: "AlignLeft", Align.CENTRE: "AlignHCenter", Align.RIGHT: "AlignRight"}

_SEVERITIES: Final = {
    Alarm.SEVERITY: ((1, MINOR), (2, MAJOR), (3, INVALID), (4, INVALID)),
    Alarm.LOSS: ((1, MAJOR), (2, MAJOR), (3, INVALID), (4, INVALID)),
    Alarm.LAMP: ((3, INVALID), (4, INVALID)),
}
"""Colours by PyDM's severity; 4 is a PV that is not connected."""

_OUTLINE: Final = 2
"""A state indicator draws an outline, which is hidden outside of a frame around it, pixels."""


def ui(screen: ScreenPlan) -> str:
    """Return the text of a ``.ui`` file."""
    form = Element("ui", version="4.0")
    SubElement(form, "class").text = "ScreenPlan"
    top = SubElement(form, "widget", {"class": "QWidget", "name": "screen"})
    size = Box(0, 0, screen.width, screen.height)
    _rect(top, size)
    for limit in ("minimumSize", "maximumSize"):
        found = SubElement(SubElement(top, "property", name=limit), "size")
        _put(found, "width", size.width)
        _put(found, "height", size.height)
    _string(top, "windowTitle", screen.title)
    _string(top, "styleSheet", _stylesheet())
    for number, widget in enumerate(screen.widgets):
        _widget(top, f"{type(widget).__name__.lower()}_{number}", widget)
    customs = SubElement(form, "customwidgets")
    for kind in sorted({str(found.get("class")) for found in top.iter("widget")} & set(_HEADERS)):
        custom = SubElement(customs, "customwidget")
        _put(custom, "class", kind)
        _put(custom, "extends", "QWidget")
        _put(custom, "header", f"pydm.widgets.{_HEADERS[kind]}")
    indent(form)
    text = tostring(form, encoding="unicode")
    # PyDM has braces around the names of macros.
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + re.sub(r"\$\((\w+)\)", r"${\1}", text) + "\n"


def _stylesheet() -> str:
    """Return the style of everything; widgets say by properties of their own which of it is theirs."""
    lines = [
        f"#screen {{background-color: {PAGE.css};}}",
        f'QWidget {{color: {INK.css}; font-family: "{FONT}"; font-size: {Size.TEXT.value}px;}}',
        f"QPushButton {{background-color: {BUTTON.css}; border: 1px solid {QUIET.css}; border-radius: 3px;}}",
        f"QPushButton:pressed {{background-color: {QUIET.css};}}",
        f"QPushButton:disabled {{color: {MUTED.css};}}",
        f'QPushButton[place="lamp"] {{background-color: transparent; border: none; color: {WHITE.css};}}',
        'QPushButton[place="lamp"] {font-weight: bold; text-align: left; padding-left: 6px;}',
        f"QLineEdit {{background-color: {FIELD.css}; border: 1px solid {QUIET.css}; padding-left: 4px;}}",
        "PyDMLabel {padding: 0px 4px;}",
        'PyDMLabel[wraps="true"] {padding: 4px 4px;}',
        *(f'*[typeSize="{size.name}"] {{font-size: {size.value}px;}}' for size in Size),
        '*[typeWeight="bold"] {font-weight: bold;}',
    ]
    lines += [
        f'PyDMLabel[alarm="{alarm.value}"][alarmSeverity="{severity}"] '
        f"{{background-color: {colour.css}; color: {WHITE.css};}}"
        for alarm, severities in _SEVERITIES.items()
        for severity, colour in severities
    ]
    return "\n".join(lines)


def _widget(top: Element, name: str, widget: Widget) -> None:
    match widget:
        case Panel():
            found = _new(top, "QFrame", name, widget.box)
            _string(found, "styleSheet", f"background-color: {widget.colour.css};")
        case Label():
            found = _new(top, "QLabel", name, widget.box)
            _string(found, "text", widget.text)
            _text(found, widget)
        case PvText():
            _reading(_new(top, "PyDMLabel", name, widget.box), widget)
        case Lamp():
            frame = _new(top, "QFrame", f"{name}_frame", widget.box)
            width, height = widget.box.width + 2 * _OUTLINE, widget.box.height + 2 * _OUTLINE
            found = _new(frame, "PyDMMultiStateIndicator", name, Box(-_OUTLINE, -_OUTLINE, width, height))
            _string(found, "channel", _address(widget.pv))
            _bool(found, "renderAsRectangle", value=True)
            for number, colour in enumerate(widget.colours):
                _colour(found, f"state{number}Color", colour)
        case Entry():
            found = _new(top, "PyDMLineEdit", name, widget.box)
            _string(found, "channel", _address(widget.pv, long=widget.long))
            if widget.long:
                _enum(found, "displayFormat", "PyDMLineEdit::String")
            _bool(found, "alarmSensitiveBorder", value=False)
        case Choice():
            found = _new(top, "PyDMEnumComboBox", name, widget.box)
            _string(found, "channel", _address(widget.pv))
            _bool(found, "alarmSensitiveBorder", value=False)
        case Write():
            found = _new(top, "PyDMPushButton", name, widget.box)
            _string(found, "text", widget.text)
            _string(found, "channel", _address(widget.pv))
            _string(found, "pressValue", str(widget.value))
            _bool(found, "alarmSensitiveBorder", value=False)
            if widget.question:
                _bool(found, "showConfirmDialog", value=True)
                _string(found, "confirmMessage", widget.question)
        case Open():
            _link(_new(top, "PyDMRelatedDisplayButton", name, widget.box), widget)
        case Bar():
            _bar(_new(top, "PyDMScaleIndicator", name, widget.box), widget)
        case Picture():
            found = _new(top, "PyDMImageView", name, widget.box)
            _string(found, "imageChannel", f"pva://{widget.pv}")
            _enum(found, "readingOrder", "PyDMImageView::Clike")
            _enum(found, "dimensionOrder", "PyDMImageView::WidthFirst")
            _enum(found, "colorMap", "PyDMImageView::Viridis")
            _bool(found, "normalizeData", value=True)
            _bool(found, "showAxes", value=False)


def _reading(found: Element, widget: PvText) -> None:
    if widget.divisor == 1:
        address = _address(widget.pv, long=widget.long)
    else:
        # The name makes it another calculation than those of other PVs.
        name = widget.pv.replace(":", "_")
        address = f"calc://{name}?x=ca://{widget.pv}&expr=x/{widget.divisor:.0f}"
        _bool(found, "precisionFromPV", value=False)
        _number(found, "precision", 1)
    _string(found, "channel", address)
    _text(found, widget)
    _bool(found, "showUnits", value=widget.units)
    _bool(found, "alarmSensitiveContent", value=False)
    _bool(found, "alarmSensitiveBorder", value=False)
    _string(found, "disconnectedText", "?")
    _own(found, "alarm", widget.alarm.value)
    if widget.long:
        _enum(found, "displayFormat", "PyDMLabel::String")
        _bool(found, "wordWrap", value=widget.box.height > ROW)
    if widget.wraps:
        _own(found, "wraps", "true")


def _link(found: Element, widget: Open) -> None:
    macros = {"P": "$(P)", **widget.macros}
    _string(found, "text", widget.text)
    _strings(found, "filenames", f"{widget.screen}.ui")
    _strings(found, "macros", json.dumps(macros))
    _bool(found, "openInNewWindow", value=True)
    _bool(found, "showIcon", value=False)
    if widget.on_lamp:
        _own(found, "place", "lamp")


def _bar(found: Element, widget: Bar) -> None:
    _string(found, "channel", _address(widget.pv))
    for name in ("showValue", "showLimits", "showTicks", "limitsFromChannel", "alarmSensitiveBorder"):
        _bool(found, name, value=False)
    _bool(found, "barIndicator", value=True)
    _colour(found, "backgroundColor", FIELD)
    _colour(found, "indicatorColor", CHANGING)
    _number(found, "scaleHeight", widget.box.height)
    _number(found, "backgroundSizeRate", 1.0)
    _number(found, "userLowerLimit", 0.0)
    _number(found, "userUpperLimit", float(widget.maximum))


def _text(found: Element, widget: Label | PvText) -> None:
    top = isinstance(widget, PvText) and widget.wraps
    SubElement(
        SubElement(found, "property", name="alignment"), "set"
    ).text = f"Qt::{_ALIGN[widget.align]}|Qt::{'AlignTop' if top else 'AlignVCenter'}"
    _own(found, "typeSize", widget.size.name)
    if widget.bold:
        _own(found, "typeWeight", "bold")
    if widget.colour != INK:
        _string(found, "styleSheet", f"color: {widget.colour.css};")


def _address(pv: str, *, long: bool = False) -> str:
    """Return what PyDM calls a PV: long texts are strings only over PV Access."""
    return f"{'pva' if long else 'ca'}://{pv}"


def _new(parent: Element, kind: str, name: str, box: Box) -> Element:
    found = SubElement(parent, "widget", {"class": kind, "name": name})
    _rect(found, box)
    return found


def _rect(found: Element, box: Box) -> None:
    rect = SubElement(SubElement(found, "property", name="geometry"), "rect")
    for name, value in box._asdict().items():
        _put(rect, name, value)


def _own(found: Element, name: str, value: str) -> None:
    """Give a widget a property of our own, for the stylesheet."""
    SubElement(SubElement(found, "property", name=name, stdset="0"), "string").text = value


def _string(found: Element, name: str, value: str) -> None:
    SubElement(SubElement(found, "property", name=name), "string").text = value


def _strings(found: Element, name: str, value: str) -> None:
    SubElement(SubElement(SubElement(found, "property", name=name), "stringlist"), "string").text = value


def _bool(found: Element, name: str, *, value: bool) -> None:
    SubElement(SubElement(found, "property", name=name), "bool").text = str(value).lower()


def _number(found: Element, name: str, value: float) -> None:
    kind = "double" if isinstance(value, float) else "number"
    SubElement(SubElement(found, "property", name=name), kind).text = str(value)


def _enum(found: Element, name: str, value: str) -> None:
    # Not by the setter of this name: that of an image's colours is another function.
    SubElement(SubElement(found, "property", name=name, stdset="0"), "enum").text = value


def _colour(found: Element, name: str, colour: Colour) -> None:
    parts = SubElement(SubElement(found, "property", name=name), "color")
    for part, value in colour._asdict().items():
        _put(parts, part, value)


def _put(parent: Element, name: str, value: object) -> None:
    SubElement(parent, name).text = str(value)
