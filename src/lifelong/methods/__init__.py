"""One paper, one file."""

from .agem import AGEM
from .der import DER, DERpp
from .ewc import EWC
from .finetune import Finetune
from .gdumb import GDumb
from .gem import GEM
from .generative_replay import GenerativeReplay
from .icarl import ICaRL
from .independent import Independent
from .joint import Joint, JointOnce
from .l2 import L2
from .lwf import LwF
from .mas import MAS
from .replay import Replay
from .rwalk import RWalk
from .si import SI

__all__ = [
    "AGEM",
    "DER",
    "EWC",
    "GEM",
    "L2",
    "MAS",
    "SI",
    "DERpp",
    "Finetune",
    "GDumb",
    "GenerativeReplay",
    "ICaRL",
    "Independent",
    "Joint",
    "JointOnce",
    "LwF",
    "RWalk",
    "Replay",
]
