"""Life-long learning: one PyTorch network learns many tasks in a row without forgetting, and is measured.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.chain import chain
    from .core.errors import DataError, LifelongError, LifelongWarning, MethodError, RunError, TrainingError
    from .core.examples import Lazy, Tensors
    from .core.method import Method
    from .core.ranks import Ranks
    from .core.stream import Stream, Task
    from .loops.guard import Guard, protect
    from .measures.budget import Budget
    from .measures.matrix import Interval, RMatrix, interval, paired
    from .methods import *  # the one list of them
    from .nets import MLP, MemoryNetwork, Reader, ResNet18
    from .runs.choose import choose, choose_each
    from .runs.fitting import fit, learner_of
    from .runs.run import Run
    from .streams import (
        babi,
        banking77,
        clinc150,
        efficientnet_lite0,
        featured,
        from_folder,
        from_frame,
        from_table,
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
    from .training.learner import Learner
    from .training.settings import Training

_HOME = {
    "measures.budget": ("Budget",),
    "core.errors": ("DataError", "LifelongError", "LifelongWarning", "MethodError", "RunError", "TrainingError"),
    "runs.fitting": ("fit", "learner_of"),
    "training.learner": ("Learner",),
    "training.settings": ("Training",),
    "measures.matrix": ("Interval", "RMatrix", "interval", "paired"),
    "core.chain": ("chain",),
    "core.method": ("Method",),
    "nets": ("MLP", "MemoryNetwork", "Reader", "ResNet18"),
    "loops.guard": ("Guard", "protect"),
    "core.ranks": ("Ranks",),
    "runs.run": ("Run",),
    "core.examples": ("Lazy", "Tensors"),
    "core.stream": ("Stream", "Task"),
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
            "from_table",
            "minilm",
            "mixed",
            "permuted",
            "rotated",
        ),
        *("split", "stream_of", "turning", "two_corpora"),
    ),
    "runs.choose": ("choose", "choose_each"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}


def _methods() -> list[str]:
    """The classes of methods, each of which its own file declares."""
    from .core.method_index import index

    return [m.kind for m in index()]


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted([*_WHERE, *_methods()])
    home = _WHERE.get(name)
    if home is None and name[0].isupper():
        home = "methods"  # each file there says what it gives
    value = None if home is None else getattr(import_module(f".{home}", __name__), name, None)
    if value is None:
        raise AttributeError(f"module 'lifelong' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_methods()})
