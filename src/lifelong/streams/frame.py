"""Streams made of a data frame: a row is an example, a column says which task it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import DataError
from ..core.stream import Scenario, Stream, remembered
from .labelled import Labelled, fraction_of, labels_of, make_stream

__all__ = ["from_frame", "from_table"]


def from_frame(
    frame: Any,
    task: str,
    label: str,
    features: Sequence[str] | None = None,
    scenario: Scenario = "class",
    *,
    test: Any = None,
    seed: int = 0,
    announced: bool = True,
    classes: Sequence[str] | None = None,
) -> Stream:
    """A stream of the rows of a data frame: pandas', or another with ``.columns`` whose columns have ``.to_numpy()``.

    Args:
        frame: the rows; tasks come in the order in which they first appear.
        task: the column that says which task a row belongs to.
        label: the column of labels.
        features: the columns of inputs, all of numbers (they become ``float32``); if nothing is said, all others.
        scenario: class, task or domain.
        test: a second frame, whose rows are tested on; or the fraction of each task's rows that is held out for it,
            drawn at random (0.2 if nothing is said).
        seed: of the rows held out.
        announced, classes: see `stream_of`.

    Raises:
        DataError: no such column, or two of one name; a feature that is not made of numbers, or is the label; no rows; a task in
            only one of two frames; and what `stream_of` raises for labels.
    """
    known = list(frame.columns)
    columns = [c for c in known if c not in (task, label)] if features is None else list(features)
    train = _tasks(frame, task, label, columns)
    names = list(train)
    if test is None or isinstance(test, float | int):
        held_out: float | list[Labelled] = fraction_of(test)
    else:
        tested = _tasks(test, task, label, columns)
        alone = [name for name in (*train, *tested) if name not in train or name not in tested]
        if alone:
            raise DataError(f"task {alone[0]!r} is in one of the two frames only: give it rows in both")
        held_out = [tested[name] for name in names]
    stream = make_stream(names, list(train.values()), held_out, scenario, seed, announced, classes)
    return replace(stream, name="frame", source=f"a frame of {len(frame)} rows")


@remembered
def from_table(
    path: Path,
    task: str,
    label: str,
    features: tuple[str, ...] = (),
    scenario: Scenario = "class",
    test: float = 0.2,
    seed: int = 0,
    announced: bool = True,
) -> Stream:
    """A stream of the rows of a CSV or a parquet file (it needs pandas; parquet needs pyarrow as well).

    Args:
        path: the file: .csv (also .csv.gz) or .parquet.
        task: the column that says which task a row belongs to; tasks come in the order in which they first appear.
        label: the column of labels.
        features: the columns of inputs, all of numbers; if nothing is said, all others.
        scenario: class, task or domain.
        test: the fraction of each task's rows that is held out to be tested on, drawn at random.
        seed: of the rows held out.
        announced: see `stream_of`.

    Raises:
        DataError: the file cannot be read; and what `from_frame` raises.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise DataError(f"a table is read by pandas ({error}): pip install 'lifelong[table]'") from error
    try:
        frame = pd.read_parquet(path) if Path(path).suffix == ".parquet" else pd.read_csv(path)
    except ImportError as error:
        raise DataError(
            f"parquet is read by pyarrow ({str(error).splitlines()[0]}): pip install 'lifelong[table]'"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table ({error}): expected .csv or .parquet") from error
    made = from_frame(frame, task, label, features or None, scenario, test=test, seed=seed, announced=announced)
    return replace(made, name="table", source=f"{Path(path).name}, {len(frame)} rows")


def _tasks(frame: Any, task: str, label: str, features: list[str]) -> dict[str, Labelled]:
    """Each task's rows."""
    known = list(frame.columns)
    for column in (task, label, *features):
        if column not in known:
            raise DataError(f"no column {column!r}; there are: {', '.join(map(str, known))}")
        if known.count(column) > 1:
            raise DataError(
                f"{known.count(column)} columns are called {column!r}: rename them, so that it is known which is meant"
            )
    if label in features:
        raise DataError(f"features hold the label {label!r}, which is what the inputs are to tell: leave it out")
    if not features:
        raise DataError(f"no column is left for the inputs besides {task!r} and {label!r}")
    if len(frame) == 0:
        raise DataError("the frame has no rows; a stream needs at least one task")
    x = np.empty((len(frame), len(features)), np.float32)
    for i, column in enumerate(features):
        values = frame[column].to_numpy()
        if values.dtype.kind not in "biuf":
            raise DataError(
                f"column {column!r} holds {values.dtype}, expected numbers: turn it into numbers, or leave it out with "
                "features=[...]"
            )
        x[:, i] = values
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(labels_of(frame[task].to_numpy(), f"column {task!r}")):
        rows.setdefault(str(name), []).append(i)
    labels = frame[label].to_numpy()
    return {
        name: Labelled(torch.from_numpy(x[own]), labels_of(labels[own], f"column {label!r}, task {name!r}"))
        for name, own in rows.items()
    }
