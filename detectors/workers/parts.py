"""The part of the images that one host has: its modules in, from shared memory, two streams out."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import zmq

from detectors.config import Config
from detectors.outputs.zmq_image import FullStream, ImageOutput, PartStream
from detectors.parts import ImagePart, part_of
from detectors.wire.array10 import ImageHeader
from detectors.worker_names import PARTS
from detectors.workers.detector_modules import DetectorModules
from detectors.workers.gather import Gatherer
from detectors.workers.runtime import run_worker
from detectors.workers.stream import Streamer


def run(config: Config, host: str) -> int:
    """Stream the part of a host until it is to stop. Returns the exit code.

    Raises ConfigError when the host has none, HostError when an address or the memory is refused.
    """
    part, rules = part_of(config, host), config.image_rules(config.udp)
    sources = tuple(config.udp[m] for m in part.place.modules)
    mosaic = config.mosaic_of(config.udp)
    modules = DetectorModules(config, sources, rules, host, mosaic=mosaic.part(part.place.modules) if mosaic else None)
    gatherer = Gatherer(modules)
    streams = partial(_streams, config, part)
    label = partial(_labelled, part, gatherer)
    worker = Streamer(f"{PARTS}.{host}", gatherer, streams, rules.high_water_mark, label=label)
    return run_worker(worker, config)


def _streams(config: Config, part: ImagePart, context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[ImageOutput]:
    """Yield the streams of a part: every image, and what the stream of whole images needs. Raises HostError."""
    rules, keys, bound = config.image_rules(config.udp), config.zmq.curve_keys, part.bound
    yield FullStream(context, bound["full"], rules.high_water_mark, curve_keys=keys)
    yield PartStream(
        context,
        bound["reduced"],
        rules.high_water_mark,
        pulse_id_step=config.detector.pulse_id_step,
        every=rules.join_every,
        curve_keys=keys,
    )


def _labelled(part: ImagePart, gatherer: Gatherer, header: ImageHeader) -> ImageHeader:
    """Return a header of a part with its place in the whole, and its number."""
    present = sum(1 << m for i, m in enumerate(part.place.modules) if header.head.present >> i & 1)
    head = header.head._replace(present=present)
    return replace(header, head=head, part=part.place, number=gatherer.assembled)
