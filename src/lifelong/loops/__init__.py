"""Methods in other people's loops: `protect` in one's own, callbacks of trainers (transformers, Lightning), estimators (scikit-learn, river)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..core.errors import LifelongError

if TYPE_CHECKING:
    from .river_estimator import OnlineClassifier
    from .sklearn_estimator import LifelongClassifier

__all__ = ["LifelongClassifier", "OnlineClassifier"]

_HOME = {"LifelongClassifier": ("sklearn_estimator", "sklearn"), "OnlineClassifier": ("river_estimator", "river")}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lifelong.loops' has no attribute {name!r}")
    module, extra = _HOME[name]
    try:
        return getattr(import_module(f".{module}", __name__), name)
    except ImportError as error:
        raise LifelongError(f"{name} needs {extra} ({error}): pip install 'lifelong[{extra}]'") from error
