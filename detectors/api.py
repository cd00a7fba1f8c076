"""What a user's script may import. The rest of the package may change from version to version.

docs/how-to/python.md shows each of them at work.
"""

from detectors.buffer.image import Frame, Image
from detectors.buffer.reader import BufferReader
from detectors.config import Config, load_config
from detectors.curve import CurveKeys
from detectors.errors import PebbleDaqError
from detectors.frame import Damage, FrameHead
from detectors.image_head import ImageHead
from detectors.live import LiveFrames, LiveImages
from detectors.live_streams import ImageStream, ModuleStream, ResultStream
from detectors.mosaic import Chips, ModulePlace, Mosaic
from detectors.parts import PartPlace
from detectors.pools.buffer_pool import BufferPool, PooledBuffer
from detectors.pools.buffer_pool import Lease as BufferLease
from detectors.pools.pool import Loaned, Pool
from detectors.verify import verify
from detectors.wire.array10 import ImageHeader
from detectors.wire.result_message import ResultHead

__all__ = [
    "BufferLease",
    "BufferPool",
    "BufferReader",
    "Chips",
    "Config",
    "CurveKeys",
    "Damage",
    "Frame",
    "FrameHead",
    "Image",
    "ImageHead",
    "ImageHeader",
    "ImageStream",
    "LiveFrames",
    "LiveImages",
    "Loaned",
    "ModulePlace",
    "ModuleStream",
    "Mosaic",
    "PartPlace",
    "PebbleDaqError",
    "Pool",
    "PooledBuffer",
    "ResultHead",
    "ResultStream",
    "load_config",
    "verify",
]
