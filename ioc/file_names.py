"""File names as areaDetector makes them: a C format of folder, name and number. Pure."""

import os.path
import re
from typing import Final

from detectors.errors import CommandError

_CONVERSION: Final = re.compile(r"%(?:%|[-0 ]?\d{0,2}(?:\.\d{1,2})?([sdi])|.?)", re.DOTALL)
"""A conversion, at most 99 wide; without a letter it is one that is not allowed."""

_NUMBER: Final = "di"
_ORDER: Final = ("s", "s", _NUMBER)
"""Letters of the conversions of folder, name and number, in this order."""


def full_file_name(template: str, folder: str, name: str, number: int) -> str:
    """Return the path that ``template`` (``%s%s_%4.4d.h5``) gives, with ``folder`` ending in a slash.

    As with C's printf, a template may leave out arguments at its end. Raises CommandError when the template does not fit, or
    the file would be outside the folder.
    """
    letters = [found[1] for found in _CONVERSION.finditer(template) if found[0] != "%%"]
    fits = all(letter and letter in order for letter, order in zip(letters, _ORDER, strict=False))
    if not fits or not 1 <= len(letters) <= len(_ORDER):
        raise CommandError(
            f"FileTemplate: found {template!r}, expected %s for the folder, then %s for the name and %d for the number, "
            "each at most 99 wide"
        )
    if not name.isprintable():
        raise CommandError(f"FileName: found {name!r}, expected characters that can be printed")
    inside = os.path.normpath(folder)
    path = os.path.normpath(template % (f"{inside}/", name, number)[: len(letters)])
    if not path.startswith(inside.rstrip("/") + "/") or path == inside:
        raise CommandError(f"FileName: found {name!r}, which gives {path}, expected a file inside FilePath, {inside}")
    return path
