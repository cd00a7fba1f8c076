"""Templates to bindings: load the records and check that each is bound to something in the program."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from detectors.config import Config
from ioc.autosave import OWNER as AUTOSAVE
from ioc.autosave import AutosaveStatus
from ioc.bindings import Bindings, bind, field_types
from ioc.face import face_types
from ioc.hosts import HostStatus, owner_of
from ioc.retention import OWNER as RETENTION
from ioc.retention import RetentionStatus
from ioc.status import OWNER, IocStatus, ProcessStatus
from ioc.templates import Load, detectors


def load_records(
    config: Config, templates: Iterable[Load], defaults: Mapping[str, Any], handlers: Iterable[str]
) -> Bindings:
    """Load ``templates`` and bind their records.

    ``defaults`` are the empty snapshots of the workers by name. Raises DatabaseError.
    """
    from ioc import database  # loads EPICS

    for template in templates:
        database.load(template.path, template.macros)
    process = field_types({"process": asdict(ProcessStatus())})
    owners = {worker: {**field_types(snapshot), **process} for worker, snapshot in defaults.items()}
    owners |= {OWNER: field_types(IocStatus()), RETENTION: field_types(RetentionStatus())}
    owners[AUTOSAVE] = field_types(AutosaveStatus())
    owners |= {owner_of(host): field_types(HostStatus()) for host in config.host}
    for detector in detectors(config):
        owners |= face_types(detector)
    found = bind(database.connect(), owners, handlers)
    database.load_statistics(
        config.detector.prefix
    )  # after the others: they are EPICS's own, and not members of our structures
    return found
