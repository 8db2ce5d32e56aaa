"""One paper, one file."""

from .ewc import EWC
from .finetune import Finetune
from .independent import Independent
from .joint import Joint, JointOnce
from .l2 import L2
from .mas import MAS
from .rwalk import RWalk
from .si import SI

__all__ = ["EWC", "L2", "MAS", "SI", "Finetune", "Independent", "Joint", "JointOnce", "RWalk"]
