"""A screen opened in PyDM without a display, in a process of its own, which prints what it found and takes a picture.

``python -m tests.support.pydm_view FILE MACROS PICTURE``, the macros as JSON.
"""

import json
import sys
import time
from typing import Any

from pydm import PyDMApplication
from pydm.display import load_file
from pydm.widgets.base import PyDMWidget
from pydm.widgets.image import PyDMImageView
from qtpy.QtCore import QTimer
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QApplication, QLabel, QPushButton, QWidget

TIMEOUT_S = 40.0
SETTLE_S = 2.0
"""After all is connected, values and images come."""


def connected(widget: Any) -> bool:
    return all(channel is None or not channel.address or widget._connected for channel in widget.channels() or ())


def shown(view: PyDMImageView) -> int:
    """How many values an image has that are different."""
    image = view.getImageItem().image
    return 0 if image is None else len(set(image.ravel()[::97].tolist()))


def clipped(label: QLabel | QPushButton) -> bool:
    """Whether a text that does not change is wider than its place."""
    return QFontMetrics(label.font()).horizontalAdvance(label.text()) > label.width()


class Look:
    """Looks at the screen until it is complete, or it takes too long."""

    def __init__(self, screen: QWidget, picture: str) -> None:
        self.screen = screen
        self.picture = picture
        self.widgets = [widget for widget in screen.findChildren(QWidget) if isinstance(widget, PyDMWidget)]
        self.images = [widget for widget in self.widgets if isinstance(widget, PyDMImageView)]
        self.end = time.monotonic() + TIMEOUT_S
        self.complete = 0.0

    def __call__(self) -> None:
        missing = [w.channel for w in self.widgets if w not in self.images and not connected(w)]
        complete = not missing and all(shown(view) > 10 for view in self.images)
        now = time.monotonic()
        self.complete = (self.complete or now) if complete else 0.0
        if now < self.end and not (self.complete and now > self.complete + SETTLE_S):
            return
        self.screen.grab().save(self.picture)
        # The parts of an image view have names of their own.
        fixed = [w for w in self.screen.children() if type(w) is QLabel or isinstance(w, QPushButton)]
        found = {
            "widgets": len(self.widgets),
            "disconnected": missing,
            "shades": [shown(view) for view in self.images],
            "clipped": [button.text() for button in fixed if clipped(button)],
            "texts": {w.channel: w.text() for w in self.widgets if isinstance(w, QLabel) and w.channel},
        }
        sys.stdout.write(json.dumps(found) + "\n")
        QApplication.instance().quit()


def main() -> None:
    path, macros, picture = sys.argv[1:]
    application = PyDMApplication(use_main_window=False, command_line_args=[])
    screen = load_file(path, macros=json.loads(macros), target=None)
    screen.show()
    look = Look(screen, picture)
    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(200)
    application.exec_()


if __name__ == "__main__":
    main()
