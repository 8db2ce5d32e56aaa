"""Life-long learning: one PyTorch network learns many tasks in a row without forgetting, and is measured.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import DataError, LifelongError, MethodError, RunError, TrainingError
    from .fitting import fit
    from .guard import Guard, protect
    from .learner import Learner, Training
    from .matrix import Interval, RMatrix, interval, paired
    from .method import Method, chain
    from .methods import (
        AGEM,
        DER,
        EWC,
        GEM,
        L2,
        MAS,
        SI,
        DERpp,
        Finetune,
        GDumb,
        Independent,
        Joint,
        JointOnce,
        Replay,
        RWalk,
    )
    from .nets import MLP, MemoryNetwork, Reader, ResNet18
    from .run import Run
    from .stream import Lazy, Stream, Task, Tensors
    from .streams import babi, from_folder, from_frame, permuted, rotated, split, stream_of, two_corpora
    from .tune import choose, choose_each

_HOME = {
    "errors": ("DataError", "LifelongError", "MethodError", "RunError", "TrainingError"),
    "fitting": ("fit",),
    "learner": ("Learner", "Training"),
    "matrix": ("Interval", "RMatrix", "interval", "paired"),
    "method": ("Method", "chain"),
    "methods": (
        *("AGEM", "DER", "DERpp", "EWC", "GEM", "GDumb", "L2", "MAS", "SI"),
        *("Finetune", "Independent", "Joint", "JointOnce", "RWalk", "Replay"),
    ),
    "nets": ("MLP", "MemoryNetwork", "Reader", "ResNet18"),
    "guard": ("Guard", "protect"),
    "run": ("Run",),
    "stream": ("Lazy", "Stream", "Task", "Tensors"),
    "streams": ("babi", "from_folder", "from_frame", "permuted", "rotated", "split", "stream_of", "two_corpora"),
    "tune": ("choose", "choose_each"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AGEM",
    "DER",
    "EWC",
    "GEM",
    "L2",
    "MAS",
    "MLP",
    "SI",
    "DERpp",
    "DataError",
    "Finetune",
    "GDumb",
    "Guard",
    "Independent",
    "Interval",
    "Joint",
    "JointOnce",
    "Lazy",
    "Learner",
    "LifelongError",
    "MemoryNetwork",
    "Method",
    "MethodError",
    "RMatrix",
    "RWalk",
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
    "chain",
    "choose",
    "choose_each",
    "fit",
    "from_folder",
    "from_frame",
    "interval",
    "paired",
    "permuted",
    "protect",
    "rotated",
    "split",
    "stream_of",
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
