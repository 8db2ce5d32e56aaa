"""Where tasks come from: labelled images, questions about stories, and your own data."""

from .copying import copying
from .features import efficientnet_lite0, featured
from .folder import from_folder
from .frame import from_frame, from_table
from .images import NOISE, mixed, permuted, rotated, split, two_corpora
from .intents import banking77, clinc150
from .own import stream_of
from .sentences import minilm
from .sources import SOURCES, Source, load
from .stories import babi
from .transforms import Permute, Rotate
from .turning import turning

__all__ = [
    "NOISE",
    "SOURCES",
    "Permute",
    "Rotate",
    "Source",
    "babi",
    "banking77",
    "clinc150",
    "copying",
    "efficientnet_lite0",
    "featured",
    "from_folder",
    "from_frame",
    "from_table",
    "load",
    "minilm",
    "mixed",
    "permuted",
    "rotated",
    "split",
    "stream_of",
    "turning",
    "two_corpora",
]
