"""`LifelongClassifier`: a learner as scikit-learn's estimators are.

    model = make_pipeline(StandardScaler(), LifelongClassifier(EWC(10.0), training=Training(epochs=20)))

A call of `partial_fit` is a task: it is learnt with all the passes that `training` says, and the method against forgetting looks back
when it ends. ``calls="steps"`` makes a call what it is for scikit-learn's own: one pass over its rows, of which many make a task.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from ..core.errors import DataError, MethodError
from ..core.method import Method
from ..methods import Replay
from ..nets import MLP
from ..training.build import Build
from ..training.learner import Learner
from ..training.settings import Training
from .incremental import Incremental, checked

__all__ = ["LifelongClassifier"]

DEFAULTS: dict[str, Any] = {
    "method": Replay(),
    "net": MLP((100,)),
    "training": Training(optimizer="adam", lr=0.01, epochs=20, batch_size=32),
}


class LifelongClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network that goes on learning, and is asked as any classifier of scikit-learn is.

    Classes need not be announced: outputs grow as they come. All that have come compete (the scenario "class"). The network computes in
    the precision of the first rows, float32 or float64. Scale the inputs first.

    Constants of `method`, `net` and `training` are parameters, too: ``method__strength``, ``net__hidden``, ``training__lr``.

    Args:
        method: against forgetting; default `Replay` with its 500 examples.
        net: makes a network of ``(features,)`` and a number of outputs, or is one; default ``MLP((100,))``.
        training: optimiser, epochs, batch size; default Adam, learning rate 0.01, 20 epochs, batch size 32.
        calls: what a call of `partial_fit` is: "tasks", a whole task; or "steps", one pass over its rows in batches.
        device: of the network.
        random_state: of the initial weights, the order and every draw.

    Attributes:
        classes_: the labels that have come or were announced, sorted, ``[C]``.
        n_features_in_: columns.
        learner_: the `Learner`.
    """

    def __init__(
        self,
        method: Method | None = None,
        net: Build | nn.Module | None = None,
        training: Training | None = None,
        *,
        calls: Literal["tasks", "steps"] = "tasks",
        device: str = "cpu",
        random_state: Any = 0,
    ) -> None:
        self.method = method
        self.net = net
        self.training = training
        self.calls = calls
        self.device = device
        self.random_state = random_state

    # --- learning ---------------------------------------------------------------------------------------------------
    def fit(self, X: ArrayLike, y: ArrayLike) -> LifelongClassifier:
        """Learns ``X [N, d]`` with labels ``y [N]`` as the first task, whatever was learnt before."""
        rows, labels = self._checked(X, y, first=True)
        self._begin(rows)
        self._announce(np.unique(labels))
        self._incremental.learn(_tensor(rows), labels.tolist())
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> LifelongClassifier:
        """Goes on with ``X [N, d]`` and labels ``y [N]``: a task, or steps, as `calls` says. `classes` announces labels; others may come
        all the same.

        Raises:
            DataError: numbers and strings as labels; a label that is missing.
            MethodError: the method cannot learn in steps; a parameter is another than in the first call.
        """
        first = not hasattr(self, "classes_")
        announced = [] if classes is None else checked(np.asarray(classes).tolist())
        rows, labels = self._checked(X, y, first)
        if first:
            self._begin(rows)
        for name in ("method", "training"):
            was, now = getattr(self._incremental, name), self._used(name)
            if was != now:
                raise MethodError(
                    f"{name} {now}: it was {was} when the first task came; say it then, or begin anew with fit"
                )
        self._announce(np.concatenate([np.unique(announced), np.unique(labels)]) if announced else np.unique(labels))
        x = _tensor(rows)
        if self.calls == "tasks":
            self._incremental.learn(x, labels.tolist())
            return self
        size = self._incremental.training.batch_size
        for start in range(0, len(x), size):
            self._incremental.step(x[start : start + size], labels[start : start + size].tolist())
        return self

    def _checked(self, X: ArrayLike, y: ArrayLike, first: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=first)
        if labels.dtype == object:  # scikit-learn looks for NaN only where it can
            checked(labels.tolist())
        check_classification_targets(labels)
        if self.calls not in ("tasks", "steps"):
            raise MethodError(f"calls {self.calls!r}: expected 'tasks' or 'steps'")
        return rows, labels

    def _begin(self, rows: NDArray[Any]) -> None:
        self.classes_: NDArray[Any] = np.array([])
        self._incremental = Incremental(
            self._used("method"),
            self._used("net"),
            self._used("training"),
            int(check_random_state(self.random_state).randint(2**31 - 1)),
            self.device,
            torch.float32 if rows.dtype == np.float32 else torch.float64,
        )

    def _announce(self, labels: NDArray[Any]) -> None:
        text = {array.dtype.kind in "OUS" for array in (self.classes_, labels) if len(array)}
        if len(text) > 1:
            raise DataError(
                f"labels {labels[:3].tolist()} after {self.classes_[:3].tolist()}: make them all numbers or all strings"
            )
        self.classes_ = np.unique(np.concatenate([self.classes_, labels]) if len(self.classes_) else labels)
        self._incremental.announce(labels.tolist())

    # --- reading out ------------------------------------------------------------------------------------------------
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities ``[N, C]``, a column for each of `classes_`: the softmax of the scores. 0 for a class that was announced and has
        not come."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        p = self._incremental.probabilities(_tensor(rows)).cpu().numpy()
        columns = [self._incremental.labels[label] for label in self.classes_.tolist()]
        found: NDArray[np.float64] = p[:, columns]
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely label of each row, ``[N]``."""
        p = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[p.argmax(1)]
        return found

    @property
    def learner_(self) -> Learner:
        check_is_fitted(self)
        assert self._incremental.learner is not None
        return self._incremental.learner

    # --- constants as parameters ------------------------------------------------------------------------------------
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters; `deep`: and the constants of `method`, `net` and `training`."""
        found: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name in DEFAULTS:
                value = self._used(name)
                if is_dataclass(value) and not isinstance(value, type):
                    found |= {f"{name}__{f.name}": getattr(value, f.name) for f in fields(value)}
        return found

    def set_params(self, **params: Any) -> LifelongClassifier:
        """Sets parameters; a constant (``method__strength``) makes a new method, net or training with it."""
        nested: dict[str, dict[str, Any]] = defaultdict(dict)
        for key in [k for k in params if "__" in k]:
            name, _, constant = key.partition("__")
            nested[name][constant] = params.pop(key)
        super().set_params(**params)
        known = self.get_params()
        for name, constants in nested.items():
            wrong = [f"{name}__{c}" for c in constants if f"{name}__{c}" not in known]
            if wrong:
                raise ValueError(f"invalid parameter {wrong[0]!r}: there are {', '.join(sorted(known))}")
            setattr(self, name, replace(self._used(name), **constants))
        return self

    def _used(self, name: str) -> Any:
        value = getattr(self, name)
        return DEFAULTS[name] if value is None else value


def _tensor(rows: NDArray[Any]) -> Tensor:
    return torch.tensor(np.ascontiguousarray(rows))  # a copy: rows may be read-only
