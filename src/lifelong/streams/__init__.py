"""Where tasks come from: labelled images, questions about stories, and your own data."""

from .folder import from_folder
from .frame import from_frame
from .images import NOISE, permuted, rotated, split, two_corpora
from .own import stream_of
from .sources import SOURCES, Source, load
from .stories import babi
from .transforms import Permute, Rotate

__all__ = [
    "NOISE",
    "SOURCES",
    "Permute",
    "Rotate",
    "Source",
    "babi",
    "from_folder",
    "from_frame",
    "load",
    "permuted",
    "rotated",
    "split",
    "stream_of",
    "two_corpora",
]
