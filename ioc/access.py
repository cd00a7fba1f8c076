"""Access security: the role of each record, and what the access file is filled with.

The roles are the access security groups of ``db/pebbledaq.acf``.
"""

import os
import pwd
from typing import Final

from detectors.interfaces import interfaces
from ioc.bindings import STATES, StaticRecord, is_setpoint
from ioc.templates import TEMPLATES

ACCESS_FILE: Final = TEMPLATES / "pebbledaq.acf"
"""The access file that is used unless the configuration names another."""

READING: Final = "READING"
LIMITED: Final = "LIMITED"
OPERATOR: Final = "OPERATOR"
EXPERT: Final = "EXPERT"

LIMITED_KINDS: Final = ("ai", "bi", "calc", "int64in", "longin", "mbbi")
"""Record types of readings that have alarm limits or severities."""

LIMITS: Final = frozenset(
    (
        *("HIHI", "HIGH", "LOW", "LOLO", "HHSV", "HSV", "LSV", "LLSV", "HYST", "ADEL", "MDEL"),
        *("ZSV", "OSV", "COSV", "UNSV"),
        *(f"{state}SV" for state in STATES),
    )
)
"""Fields of a reading that an expert may set: when it alarms, and how much it must change to be published."""


def role(record: StaticRecord) -> str:
    """Return the role of a record: the template's, else operators write setpoints and nobody writes readings."""
    if own := record.fields.get("ASG"):
        return own
    if is_setpoint(record):
        return OPERATOR
    return LIMITED if record.kind in LIMITED_KINDS else READING


def substitutions() -> str:
    """Return the macros of the access file: the account of this process, and the addresses of this host."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # an account without a name, as containers have
        user = str(os.geteuid())
    hosts = dict.fromkeys(("127.0.0.1", *(str(found.ip) for found in interfaces().values())))
    return f'USER="{user}",HOST="{",".join(hosts)}"'
