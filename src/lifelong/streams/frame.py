"""Streams made of a data frame: a row is an example, a column says which task it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import DataError, warn
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
    return replace(
        stream,
        name="frame",
        source=f"a frame of {len(frame)} rows",
        notes={**stream.notes, "columns": [str(c) for c in columns]},
    )


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
        announced: whether the number of classes is known before the first task; otherwise the network's outputs grow with them.

    Raises:
        DataError: the file cannot be read; and what `from_frame` raises.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise DataError(f"a table is read by pandas ({error}): pip install 'lifelong[table]'") from error
    if not Path(path).is_file():
        raise DataError(f"there is no file {path} here ({Path.cwd()})")
    try:
        _each_once(path, pd)
        frame = pd.read_parquet(path) if Path(path).suffix == ".parquet" else pd.read_csv(path)
    except ImportError as error:
        raise DataError(
            f"parquet is read by pyarrow ({str(error).splitlines()[0]}): pip install 'lifelong[table]'"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table ({error}): expected .csv or .parquet") from error
    nameless = [c for c in frame.columns if str(c).startswith("Unnamed: ") and not features]
    if nameless:
        warn(
            f"{path}: a column without a name is one of the inputs ({nameless[0]!r}; an index that was written along?): leave it out with "
            "features=[...] (--stream.features a,b,...)"
        )
    made = from_frame(frame, task, label, features or None, scenario, test=test, seed=seed, announced=announced)
    return replace(made, name="table", source=f"{Path(path).name}, {len(frame)} rows")


def _each_once(path: Path, pd: Any) -> None:
    """Raises `DataError` where two columns of a CSV have one name: pandas would call the second otherwise."""
    if Path(path).suffix == ".parquet":
        return
    names = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError(
            f"{path}: {names.count(twice[0])} columns are called {twice[0]!r}: rename them, so that it is known which is meant"
        )


def _none_missing(values: Any, column: str) -> None:
    """Raises `DataError` where a row says no task or no label."""
    missing = [i for i, v in enumerate(values.tolist()) if _is_empty(v)]
    if missing:
        raise DataError(
            f"column {column!r} is empty in row {missing[0] + 1} of {len(values)} ({len(missing)} such rows): fill it in, or leave these rows out"
        )


def _is_empty(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA
        return True


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
                "features=[...] (--stream.features a,b,...)"
            )
        with np.errstate(over="ignore"):
            x[:, i] = values
        wrong = np.flatnonzero(~np.isfinite(x[:, i]))
        if len(wrong):
            raise DataError(
                f"column {column!r}: {values[wrong[0]]} in row {wrong[0] + 1} of {len(frame)} is no number that float32 holds ({len(wrong)} such rows): "
                "fill in what is missing, or leave these rows out"
            )
    rows: dict[str, list[int]] = {}
    for column in (task, label):
        _none_missing(frame[column].to_numpy(), column)
    tasks = frame[task].to_numpy()
    for i, name in enumerate(labels_of(tasks.astype(str) if tasks.dtype.kind == "M" else tasks, f"column {task!r}")):
        rows.setdefault(str(name), []).append(i)
    labels = frame[label].to_numpy()
    return {
        name: Labelled(torch.from_numpy(x[own]), labels_of(labels[own], f"column {label!r}, task {name!r}"))
        for name, own in rows.items()
    }
