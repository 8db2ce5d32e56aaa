"""`OnlineClassifier`: a learner as river's classifiers are, one example at a time.

model = preprocessing.StandardScaler() | OnlineClassifier(Replay(500, batch=8), training=Training(lr=0.05))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from river import base
from torch import Tensor, nn

from ..errors import DataError
from ..fitting import Build
from ..learner import Learner
from ..method import Method
from ..methods import Replay
from ..nets import MLP
from ..training import Training
from .incremental import Incremental

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OnlineClassifier"]


class OnlineClassifier(base.MiniBatchClassifier):
    """A network that takes a step with every example, and keeps what it knew.

    Classes need not be announced: outputs grow as they come. A class that was not met begins a task; so does every `task`-th example,
    where that is said. Features are numbers, scaled before they come (``preprocessing.StandardScaler() | ...``); one that is missing
    counts as 0. The network has an input for each feature of the first example, or for the first `features` names that come; names that
    come when all are taken are left out.

    Args:
        method: against forgetting; default `Replay`, 500 examples, 8 of them in a step. One that looks at a task's examples when it ends
            (EWC, SI, MAS) needs `task`.
        net: makes a network of ``(features,)`` and a number of outputs, or is one; default ``MLP((100,))``.
        training: the optimiser, and for `learn_many` the batch size; default SGD, learning rate 0.05, gradients of
            norm 1 at most. Its epochs have no meaning here.
        task: how many examples make a task; default: until a class comes that was not met.
        features: how many names there is room for; default those of the first example.
        seed: of the initial weights and every draw.

    Attributes:
        left_out: names for which there was no room.
    """

    def __init__(
        self,
        method: Method | None = None,
        net: Build | nn.Module | None = None,
        training: Training | None = None,
        task: int | None = None,
        features: int | None = None,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.net = net
        self.training = training
        self.task = task
        self.features = features
        self.seed = seed
        self.left_out: set[Any] = set()
        self._columns: dict[Any, int] = {}
        self._room = features
        self._incremental = Incremental(
            method if method is not None else Replay(500, batch=8),
            net if net is not None else MLP((100,)),
            training if training is not None else Training(lr=0.05, batch_size=32, clip=1.0),
            seed,
            task=task,
        )

    @property
    def learner(self) -> Learner | None:
        """The `Learner`; None before the first example."""
        return self._incremental.learner

    # --- one at a time ----------------------------------------------------------------------------------------------
    def learn_one(self, x: Mapping[Any, Any], y: Any) -> None:
        """One step on an example, and on what the method replays beside it."""
        self._meet(x)
        self._incremental.step(self._row(x), [y])

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """The probability of each label that has come; empty before the first."""
        if self.learner is None:
            return {}
        return dict(zip(self._incremental.labels, self._incremental.probabilities(self._row(x))[0].tolist()))

    # --- many at a time ---------------------------------------------------------------------------------------------
    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """One step for each batch of the rows."""
        self._meet(X.columns)
        rows, labels, size = self._rows(X), y.tolist(), self._incremental.training.batch_size
        for start in range(0, len(rows), size):
            self._incremental.step(rows[start : start + size], labels[start : start + size])

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """The probabilities of the rows, a column for each label that has come."""
        import pandas as pd

        if self.learner is None:
            return pd.DataFrame(index=X.index)
        p = self._incremental.probabilities(self._rows(X)).cpu().numpy()
        return pd.DataFrame(p, index=X.index, columns=list(self._incremental.labels))

    # --- features ---------------------------------------------------------------------------------------------------
    def _meet(self, names: Iterable[Any]) -> None:
        """Columns for names that have none. Sorted, so that the order within an example has no say."""
        new = sorted((n for n in names if n not in self._columns and n not in self.left_out), key=str)
        if self._room is None:
            self._room = len(new)
        for name in new:
            if len(self._columns) < self._room:
                self._columns[name] = len(self._columns)
            else:
                self.left_out.add(name)

    def _row(self, x: Mapping[Any, Any]) -> Tensor:
        row = [0.0] * (self._room or 0)
        for name, value in x.items():
            if name in self._columns:
                try:
                    row[self._columns[name]] = float(value)
                except (TypeError, ValueError) as error:
                    raise DataError(
                        f"feature {name!r} is {value!r}, expected a number: encode it first (preprocessing.OneHotEncoder)"
                    ) from error
        return torch.tensor([row])

    def _rows(self, X: pd.DataFrame) -> Tensor:
        rows = torch.zeros(len(X), self._room or 0)
        for name in X.columns:
            if name in self._columns:
                rows[:, self._columns[name]] = torch.tensor(X[name].to_numpy(dtype="float32", copy=True))
        return rows

    # --- what river asks --------------------------------------------------------------------------------------------
    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _raw_memory_usage(self) -> int:
        return self._incremental.nbytes

    def _unit_test_skips(self) -> set[str]:
        return {
            "check_learn_many_matches_learn_one",  # a batch is one step on its mean loss, as in river's own linear models
        }
