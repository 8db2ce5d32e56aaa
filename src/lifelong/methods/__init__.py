"""One paper, one file."""

from .agem import AGEM
from .der import DER, DERpp
from .ewc import EWC
from .expert_gate import ExpertGate
from .finetune import Finetune
from .gdumb import GDumb
from .gem import GEM
from .grow import Grow
from .hat import HAT
from .independent import Independent
from .joint import Joint, JointOnce
from .l2 import L2
from .mas import MAS
from .packnet import PackNet
from .progressive import Progressive
from .replay import Replay
from .rwalk import RWalk
from .si import SI

__all__ = [
    "AGEM",
    "DER",
    "EWC",
    "GEM",
    "HAT",
    "L2",
    "MAS",
    "SI",
    "DERpp",
    "ExpertGate",
    "Finetune",
    "GDumb",
    "Grow",
    "Independent",
    "Joint",
    "JointOnce",
    "PackNet",
    "Progressive",
    "RWalk",
    "Replay",
]
