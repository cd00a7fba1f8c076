"""Take the pictures of the screens in ``docs/pictures/``: an IOC with simulated modules and a camera, seen by PyDM.

``python docs/tools/make_screen_pictures.py [FOLDER]``. One module loses packets, so that it can be seen how that looks.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from detectors.config import load_config
from ioc.screens.everything import screens
from tests.support.both import running_both
from tests.support.pydm_screen import picture

ROOT: Final = Path(__file__).resolve().parents[2]
PICTURES: Final = ROOT / "docs" / "pictures"


def main() -> None:
    """Write a picture of every screen, and say what is on it."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pd") as data,
        running_both(Path(data), {"M01": ["--loss", "0.001"]}) as running,
    ):
        ioc = running.ioc
        ioc.until("BOTH:HDF1:State_RBV", "Idle")
        ioc.put("BOTH:HDF1:FileName", "scan_0042")
        ioc.put("BOTH:HDF1:NumCapture", 0)
        ioc.put("BOTH:HDF1:Capture", 1, wait=False)
        ioc.until("BOTH:HDF1:NumCaptured_RBV", lambda number: number > 20)
        for screen in screens(load_config(ROOT / "examples" / "both.toml")):
            path = folder / f"screen-{screen.name}.png"
            found = picture(ioc, ROOT / "screens" / f"{screen.name}.ui", {**screen.macros, "P": ioc.prefix}, path)
            sys.stdout.write(json.dumps({"picture": path.name, **found}) + "\n")


if __name__ == "__main__":
    main()
