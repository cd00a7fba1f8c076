"""Templates to bindings: load the records and check that each is bound to something in the program."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ioc.bindings import Bindings, bind, field_types
from ioc.camera import OWNER as CAMERA
from ioc.camera import CameraSettings, CameraStatus
from ioc.capture import OWNER as CAPTURE
from ioc.capture import CaptureSettings
from ioc.live_image import OWNER as LIVE_IMAGE
from ioc.live_image import LiveImageStatus
from ioc.retention import OWNER as RETENTION
from ioc.retention import RetentionStatus
from ioc.retro import OWNER as RETRO
from ioc.retro import RetroStatus
from ioc.status import OWNER, IocStatus, ProcessStatus
from ioc.templates import Load


def load_records(templates: Iterable[Load], defaults: Mapping[str, Any], handlers: Iterable[str]) -> Bindings:
    """Load ``templates`` and bind their records.

    ``defaults`` are the empty snapshots of the workers by name. Raises DatabaseError.
    """
    from ioc import database  # loads EPICS

    for template in templates:
        database.load(template.path, template.macros)
    process = field_types({"process": asdict(ProcessStatus())})
    owners = {worker: {**field_types(snapshot), **process} for worker, snapshot in defaults.items()}
    owners |= {
        OWNER: field_types(IocStatus()),
        RETENTION: field_types(RetentionStatus()),
        RETRO: field_types(RetroStatus()),
    }
    owners |= {CAPTURE: field_types(CaptureSettings()), LIVE_IMAGE: field_types(LiveImageStatus())}
    owners[CAMERA] = field_types(CameraSettings()) | field_types(CameraStatus())
    return bind(database.connect(), owners, handlers)
