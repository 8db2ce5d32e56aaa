"""Learners as the estimators of other libraries: of scikit-learn (extra ``sklearn``) and of river (extra ``river``)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import LifelongError

if TYPE_CHECKING:
    from .with_river import OnlineClassifier
    from .with_sklearn import LifelongClassifier

__all__ = ["LifelongClassifier", "OnlineClassifier"]

_HOME = {"LifelongClassifier": ("with_sklearn", "sklearn"), "OnlineClassifier": ("with_river", "river")}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lifelong.estimators' has no attribute {name!r}")
    module, extra = _HOME[name]
    try:
        return getattr(import_module(f".{module}", __name__), name)
    except ImportError as error:
        raise LifelongError(f"{name} needs {extra} ({error}): pip install 'lifelong[{extra}]'") from error
