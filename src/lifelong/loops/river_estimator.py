"""`OnlineClassifier`: a learner as river's classifiers are, one example at a time.

model = preprocessing.StandardScaler() | OnlineClassifier(Replay(500, batch_size=8), training=Training(lr=0.05))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from river import base
from torch import Tensor, nn

from ..core.errors import DataError
from ..core.method import Method
from ..methods import Replay
from ..nets import MLP
from ..training.build import Build
from ..training.learner import Learner
from ..training.settings import Training
from .incremental import Incremental, checked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OnlineClassifier"]


class OnlineClassifier(base.MiniBatchClassifier):
    """A network that takes a step with every example, and keeps what it knew.

    Classes need not be announced: outputs grow as they come. A class that was not met begins a task; so does every `task`-th example,
    where that is said. Features are numbers, scaled before they come (``preprocessing.StandardScaler() | ...``); a name that is absent
    counts as 0. A value that is missing (None, NaN) or infinite is refused, and so is a label that is missing or a fraction; the learner
    stays as it was. The network has an input for each feature of the first example, or for the first `features` names that come; names that
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
            method if method is not None else Replay(500, batch_size=8),
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
        """One step on an example, and on what the method replays beside it.

        Raises:
            DataError: a feature is no finite number, or the label none; nothing has changed then.
        """
        met = self._met(x)
        row, labels = _row(x, *met[:2]), checked([y])
        self._columns, self._room, self.left_out = met
        self._incremental.step(row, labels)

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """The probability of each label that has come; empty before the first. Raises as `learn_one`."""
        row = _row(x, self._columns, self._room or 0)
        if self.learner is None:
            return {}
        return dict(zip(self._incremental.labels, self._incremental.probabilities(row)[0].tolist()))

    # --- many at a time ---------------------------------------------------------------------------------------------
    def learn_many(self, X: pd.DataFrame, y: pd.Series) -> None:
        """One step for each batch of the rows. Raises as `learn_one`, before the first step."""
        met = self._met(X.columns)
        rows, labels, size = _rows(X, *met[:2]), checked(y.tolist()), self._incremental.training.batch_size
        if len(rows) != len(labels):
            raise DataError(f"{len(rows)} rows and {len(labels)} labels: expected as many of each")
        self._columns, self._room, self.left_out = met
        for start in range(0, len(rows), size):
            self._incremental.step(rows[start : start + size], labels[start : start + size])

    def predict_proba_many(self, X: pd.DataFrame) -> pd.DataFrame:
        """The probabilities of the rows, a column for each label that has come. Raises as `learn_one`."""
        import pandas as pd

        rows = _rows(X, self._columns, self._room or 0)
        if self.learner is None:
            return pd.DataFrame(index=X.index)
        p = self._incremental.probabilities(rows).cpu().numpy()
        return pd.DataFrame(p, index=X.index, columns=list(self._incremental.labels))

    # --- features ---------------------------------------------------------------------------------------------------
    def _met(self, names: Iterable[Any]) -> tuple[dict[Any, int], int, set[Any]]:
        """The columns, how many there is room for, and the names left out, once these names have come: new ones are sorted, so that the
        order within an example has no say."""
        new = sorted((n for n in names if n not in self._columns and n not in self.left_out), key=str)
        room = len(new) if self._room is None else self._room
        if not new:
            return self._columns, room, self.left_out
        taken = new[: room - len(self._columns)]
        columns = {**self._columns, **dict(zip(taken, range(len(self._columns), room)))}
        return columns, room, self.left_out | set(new[len(taken) :])

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


def _row(x: Mapping[Any, Any], columns: Mapping[Any, int], room: int) -> Tensor:
    """An example's features ``[1, room]``; those without a column have no say."""
    row = [0.0] * room
    for name, value in x.items():
        if name in columns:
            try:
                row[columns[name]] = float(value)
            except (TypeError, ValueError) as error:
                raise _no_number(name, value) from error
    found = torch.tensor([row])
    if not bool(found.isfinite().all()):
        names = {column: name for name, column in columns.items()}
        name = names[int((~found[0].isfinite()).nonzero()[0])]
        raise _no_number(name, x[name])
    return found


def _rows(X: pd.DataFrame, columns: Mapping[Any, int], room: int) -> Tensor:
    """The features of a frame's rows ``[N, room]``."""
    rows = torch.zeros(len(X), room)
    for name in X.columns:
        if name in columns:
            try:
                values = torch.tensor(X[name].to_numpy(dtype="float64", na_value=float("nan"), copy=True)).float()
            except (TypeError, ValueError) as error:
                raise _no_number(name, next((v for v in X[name] if isinstance(v, str)), X[name].iloc[0])) from error
            if not bool(values.isfinite().all()):
                raise _no_number(name, X[name].iloc[int((~values.isfinite()).nonzero()[0])])
            rows[:, columns[name]] = values
    return rows


def _no_number(name: Any, value: Any) -> DataError:
    mend = (
        "encode it first (preprocessing.OneHotEncoder() | ...)"
        if isinstance(value, str)
        else f"fill in what is missing first (preprocessing.StatImputer(({name!r}, stats.Mean())) | ..., which does so for None), or leave the "
        "name out of the example, which counts as 0"
    )
    return DataError(f"feature {name!r} is {value!r}, expected a finite number: {mend}")
