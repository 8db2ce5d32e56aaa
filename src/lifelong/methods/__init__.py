"""One paper, one file."""

from .ewc import EWC
from .finetune import Finetune
from .independent import Independent
from .joint import Joint, JointOnce
from .l2 import L2

__all__ = ["EWC", "L2", "Finetune", "Independent", "Joint", "JointOnce"]
