"""Life-long learning: one PyTorch network learns many tasks in a row without forgetting, and is measured.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget import Budget
    from .errors import DataError, LifelongError, LifelongWarning, MethodError, RunError, TrainingError
    from .fitting import fit, learner_of
    from .guard import Guard, protect
    from .learner import Learner
    from .matrix import Interval, RMatrix, interval, paired
    from .method import Method, chain
    from .methods import (
        AGEM,
        DER,
        EWC,
        GEM,
        HAT,
        L2,
        MAS,
        SI,
        SLDA,
        Augment,
        DERpp,
        ExpertGate,
        FearNet,
        Finetune,
        GDumb,
        GenerativeReplay,
        Grow,
        ICaRL,
        Independent,
        Joint,
        JointOnce,
        LatentReplay,
        LwF,
        NearestMean,
        NearestNeighbour,
        PackNet,
        Progressive,
        RanPAC,
        Replay,
        RWalk,
    )
    from .nets import MLP, MemoryNetwork, Reader, ResNet18
    from .ranks import Ranks
    from .run import Run
    from .stream import Lazy, Stream, Task, Tensors
    from .streams import (
        babi,
        banking77,
        clinc150,
        efficientnet_lite0,
        featured,
        from_folder,
        from_frame,
        minilm,
        mixed,
        permuted,
        rotated,
        split,
        stream_of,
        two_corpora,
    )
    from .streams.copying import copying
    from .streams.turning import turning
    from .training import Training
    from .tune import choose, choose_each

_HOME = {
    "budget": ("Budget",),
    "errors": ("DataError", "LifelongError", "LifelongWarning", "MethodError", "RunError", "TrainingError"),
    "fitting": ("fit", "learner_of"),
    "learner": ("Learner", "Training"),
    "matrix": ("Interval", "RMatrix", "interval", "paired"),
    "method": ("Method", "chain"),
    "methods": (
        *(
            "AGEM",
            "DER",
            "DERpp",
            "EWC",
            "GEM",
            "GDumb",
            "GenerativeReplay",
            "HAT",
            "ICaRL",
            "L2",
            "LwF",
            "MAS",
            "SI",
            "SLDA",
        ),
        *(
            "Augment",
            "ExpertGate",
            "FearNet",
            "Finetune",
            "Grow",
            "Independent",
            "Joint",
            "JointOnce",
            "LatentReplay",
            "NearestMean",
            "NearestNeighbour",
            "PackNet",
            "Progressive",
            "RWalk",
            "RanPAC",
            "Replay",
        ),
    ),
    "nets": ("MLP", "MemoryNetwork", "Reader", "ResNet18"),
    "guard": ("Guard", "protect"),
    "ranks": ("Ranks",),
    "run": ("Run",),
    "stream": ("Lazy", "Stream", "Task", "Tensors"),
    "streams": (
        *(
            "babi",
            "banking77",
            "clinc150",
            "copying",
            "efficientnet_lite0",
            "featured",
            "from_folder",
            "from_frame",
            "minilm",
            "mixed",
            "permuted",
            "rotated",
        ),
        *("split", "stream_of", "turning", "two_corpora"),
    ),
    "tune": ("choose", "choose_each"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AGEM",
    "DER",
    "EWC",
    "GEM",
    "HAT",
    "L2",
    "MAS",
    "MLP",
    "SI",
    "SLDA",
    "Augment",
    "Budget",
    "DERpp",
    "DataError",
    "ExpertGate",
    "FearNet",
    "Finetune",
    "GDumb",
    "GenerativeReplay",
    "Grow",
    "Guard",
    "ICaRL",
    "Independent",
    "Interval",
    "Joint",
    "JointOnce",
    "LatentReplay",
    "Lazy",
    "Learner",
    "LifelongError",
    "LifelongWarning",
    "LwF",
    "MemoryNetwork",
    "Method",
    "MethodError",
    "NearestMean",
    "NearestNeighbour",
    "PackNet",
    "Progressive",
    "RMatrix",
    "RWalk",
    "RanPAC",
    "Ranks",
    "Reader",
    "Replay",
    "ResNet18",
    "Run",
    "RunError",
    "Stream",
    "Task",
    "Tensors",
    "Training",
    "TrainingError",
    "babi",
    "banking77",
    "chain",
    "choose",
    "choose_each",
    "clinc150",
    "copying",
    "efficientnet_lite0",
    "featured",
    "fit",
    "from_folder",
    "from_frame",
    "interval",
    "learner_of",
    "minilm",
    "mixed",
    "paired",
    "permuted",
    "protect",
    "rotated",
    "split",
    "stream_of",
    "turning",
    "two_corpora",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'lifelong' has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
