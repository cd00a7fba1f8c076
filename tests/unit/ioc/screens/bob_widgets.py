"""The widgets of Phoebus's Display Builder that screens use, and the properties of each, from their sources."""

COMMON = {"name", "x", "y", "width", "height", "rules", "actions", "tooltip", "visible"}
TYPE = {"font", "foreground_color", "background_color", "transparent"}
ALIGNED = {"horizontal_alignment", "vertical_alignment", "wrap_words"}
PV = {"pv_name", "border_alarm_sensitive"}

PROPERTIES = {
    "rectangle": COMMON | {"background_color", "line_color", "line_width", "transparent", "corner_width"},
    "label": COMMON | TYPE | ALIGNED | {"text", "auto_size"},
    "textupdate": COMMON | TYPE | ALIGNED | PV | {"format", "precision", "show_units"},
    "multi_state_led": COMMON
    | PV
    | {"states", "fallback_label", "fallback_color", "font", "foreground_color", "line_color", "square"},
    "textentry": COMMON | TYPE | PV | {"format", "precision", "show_units", "enabled"},
    "combo": COMMON | TYPE | PV | {"items", "items_from_pv", "enabled"},
    "action_button": COMMON | TYPE | PV | {"text", "enabled", "confirm_dialog", "confirm_message"},
    "progressbar": COMMON
    | PV
    | {"fill_color", "background_color", "limits_from_pv", "minimum", "maximum", "horizontal", "log_scale"},
    "image": COMMON
    | PV
    | {"autoscale", "show_toolbar", "color_bar", "color_map", "x_axis", "y_axis", "minimum", "maximum"},
}

VERSIONS = {"textentry": "3.0.0", "action_button": "3.0.0"}
"""Of those that are not 2.0.0: older versions are read in another way."""
