"""One paper, one file."""

from .agem import AGEM
from .augment import Augment
from .der import DER, DERpp
from .ewc import EWC
from .expert_gate import ExpertGate
from .fearnet import FearNet
from .finetune import Finetune
from .gdumb import GDumb
from .gem import GEM
from .generative_replay import GenerativeReplay
from .grow import Grow
from .hat import HAT
from .icarl import ICaRL
from .independent import Independent
from .joint import Joint, JointOnce
from .l2 import L2
from .latent_replay import LatentReplay
from .lwf import LwF
from .mas import MAS
from .nearest import NearestMean, NearestNeighbour
from .packnet import PackNet
from .progressive import Progressive
from .ranpac import RanPAC
from .replay import Replay
from .rwalk import RWalk
from .si import SI
from .slda import SLDA

__all__ = [
    "AGEM",
    "DER",
    "EWC",
    "GEM",
    "HAT",
    "L2",
    "MAS",
    "SI",
    "SLDA",
    "Augment",
    "DERpp",
    "ExpertGate",
    "FearNet",
    "Finetune",
    "GDumb",
    "GenerativeReplay",
    "Grow",
    "ICaRL",
    "Independent",
    "Joint",
    "JointOnce",
    "LatentReplay",
    "LwF",
    "NearestMean",
    "NearestNeighbour",
    "PackNet",
    "Progressive",
    "RWalk",
    "RanPAC",
    "Replay",
]
