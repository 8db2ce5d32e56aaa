"""The laws, for what is outside this package: `check_method` and `check_stream` run every one of them, and say in a sentence what failed.

The package's own methods and streams are held to the same functions.
"""

from .checks import check_method, check_stream
from .laws import LawBroken
from .method_laws import METHOD_LAWS
from .stream_laws import STREAM_LAWS
from .toys import toy_learner, toy_net, toy_stream

__all__ = [
    "METHOD_LAWS",
    "STREAM_LAWS",
    "LawBroken",
    "check_method",
    "check_stream",
    "toy_learner",
    "toy_net",
    "toy_stream",
]
