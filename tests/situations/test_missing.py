"""What people's data lacked where examples come one at a time, or as scikit-learn hands them over."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from river import preprocessing, stats

from lifelong.core.errors import DataError
from lifelong.loops import LifelongClassifier, OnlineClassifier
from lifelong.methods import Replay
from lifelong.nets import MLP
from lifelong.training.settings import Training

NAN, INF = float("nan"), float("inf")


def taught() -> OnlineClassifier:
    model = OnlineClassifier(Replay(20, batch_size=2), MLP((4,)), features=3)
    for i in range(6):
        model.learn_one({"a": i / 5, "b": -1.0}, "left" if i % 2 else "right")
    return model


def everything(model: Any) -> tuple[Any, ...]:
    """What a refused example must not change."""
    inside = model._incremental
    saved = inside.learner.state_dict()
    tensors = {k: v.clone() for k, v in saved["tensors"].items()}
    rest = copy.deepcopy((inside.labels, inside._count, saved["meta"]))
    return (
        tensors,
        *rest,
        copy.deepcopy(getattr(model, "_columns", None)),
        copy.deepcopy(getattr(model, "left_out", None)),
    )


def alike(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return (
        a[0].keys() == b[0].keys() and all(torch.equal(a[0][k], b[0][k]) for k in a[0]) and repr(a[1:]) == repr(b[1:])
    )


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (
            {"a": NAN, "b": 1.0},
            "left",
            r"feature 'a' is nan, expected a finite number: fill in .*StatImputer\(\('a', stats.Mean\(\)\)\)",
        ),
        ({"a": 1.0, "b": None}, "left", "feature 'b' is None"),
        ({"a": 1.0, "b": INF}, "left", "feature 'b' is inf"),
        ({"a": 1e300}, "left", r"feature 'a' is 1e\+300"),  # infinite in the network's numbers
        ({"a": np.float32("nan")}, "left", "feature 'a' is"),
        ({"a": pd.NA}, "left", "feature 'a' is <NA>"),
        ({"a": "red"}, "left", r"feature 'a' is 'red'.*OneHotEncoder\(\)"),
        ({"c": NAN}, "new", "feature 'c' is nan"),  # a name and a label that were not met
        ({"a": 1.0, "c": 1.0}, NAN, r"label nan \(example [01]\) names no class"),
        ({"a": 1.0, "c": 1.0}, None, "label None"),
        ({"a": 1.0}, np.float32("nan"), "label"),
        ({"a": 1.0}, pd.NA, "label <NA>"),
        ({"a": 1.0}, pd.NaT, "label NaT"),
        ({"a": 1.0}, INF, "label inf"),
        ({"a": 1.0}, 0.37, "label 0.37 .*targets of a regression"),
        ({"a": 1.0}, np.array([1, 2]), "label array"),
        ({"a": 1.0}, ["left"], "label .'left'. "),
    ],
    ids=str,
)
def test_an_example_with_a_value_that_is_missing(x: dict[str, Any], y: Any, said: str) -> None:
    model = taught()
    before = everything(model)
    with pytest.raises(DataError, match=said):
        model.learn_one(x, y)
    with pytest.raises(DataError, match=said):
        model.learn_many(pd.DataFrame([dict.fromkeys(x, 0.0), x], dtype=object), pd.Series(["left", y], dtype=object))
    assert alike(everything(model), before)
    fresh = OnlineClassifier(Replay(20, batch_size=2), MLP((4,)))
    with pytest.raises(DataError, match=said):
        fresh.learn_one(x, y)
    assert (fresh.learner, fresh._columns, fresh._room, fresh._incremental.labels) == (None, {}, None, {})


def test_an_answer_about_a_value_that_is_missing() -> None:
    model = taught()
    before = everything(model)
    asked: list[Callable[[], Any]] = [
        lambda: model.predict_one({"a": NAN}),
        lambda: model.predict_proba_one({"a": None}),
        lambda: model.predict_many(pd.DataFrame({"a": [0.0, NAN]})),
        lambda: model.predict_proba_many(pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})),
    ]
    for ask in asked:
        with pytest.raises(DataError, match="feature 'a' is"):
            ask()
    assert alike(everything(model), before)
    p = model.predict_proba_one({"a": 0.5, "never met": NAN})  # it has no say
    assert p == model.predict_proba_one({"a": 0.5, "b": 0.0, "c": 0})  # absent: 0
    assert abs(sum(p.values()) - 1) < 1e-6


def test_what_is_missing_is_filled_in_before() -> None:
    model = (
        preprocessing.StatImputer(("a", stats.Mean()))
        | preprocessing.StandardScaler()
        | OnlineClassifier(Replay(20, batch_size=2))
    )
    for i in range(20):
        model.learn_one({"a": None if i % 5 == 4 else float(i % 2), "b": 1.0}, i % 2)
    assert model.predict_one({"a": None, "b": 1.0}) in (0, 1)


def test_features_for_which_there_is_no_room_have_no_say() -> None:
    model = OnlineClassifier(features=1)
    model.learn_one({"a": 1.0, "b": NAN}, True)
    assert (model._columns, model.left_out) == ({"a": 0}, {"b"})
    again = pickle.loads(pickle.dumps(model))
    again.learn_one({"a": 1.0, "b": "red"}, False)


# --- scikit-learn --------------------------------------------------------------------------------------------------------
X = np.random.default_rng(0).normal(size=(8, 2))


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, NAN, 1] * 2,
        [0, 1, None, 1] * 2,
        ["a", None] * 4,
        np.array(["a", NAN] * 4, object),
        pd.Series([0, 1, pd.NA, 1] * 2, dtype="Int64"),
        [INF, 1.0] * 4,
        [0.5, 1, 2, 3] * 2,
    ],
    ids=repr,
)
def test_labels_that_are_missing(y: Any) -> None:
    model = LifelongClassifier(training=Training(epochs=1, lr=0.01, batch_size=4))
    with pytest.raises(ValueError, match=r"NaN|names no class|infinity|continuous"):
        model.fit(X, y)
    model.fit(X, ["a", "b"] * 4 if "a" in list(y)[:1] else [0, 1] * 4)
    before = everything(model)
    with pytest.raises(ValueError, match=r"NaN|names no class|infinity|continuous"):
        model.partial_fit(X, y)
    assert alike(everything(model), before)


@pytest.mark.parametrize("classes", [[0, 1, NAN], [0, 1, None], [0, 1, 0.5], ["a", None]], ids=repr)
def test_announced_labels_that_are_missing(classes: list[Any]) -> None:
    model = LifelongClassifier(training=Training(epochs=1, lr=0.01, batch_size=4)).fit(X, [0, 1] * 4)
    with pytest.raises(DataError, match="names no class"):
        model.partial_fit(X, [0, 1] * 4, classes=classes)
    assert model.classes_.tolist() == [0, 1]
    fresh = LifelongClassifier()
    with pytest.raises(DataError, match="names no class"):
        fresh.partial_fit(X, [0, 1] * 4, classes=classes)
    assert not hasattr(fresh, "classes_")


@pytest.mark.parametrize("value", [NAN, INF, None])
def test_rows_with_a_value_that_is_missing(value: Any) -> None:
    model = LifelongClassifier(training=Training(epochs=1, lr=0.01, batch_size=4)).fit(X, [0, 1] * 4)
    before, wrong = everything(model), X.astype(object)
    wrong[3, 1] = value
    for call in (
        lambda: model.partial_fit(wrong, [0, 1] * 4),
        lambda: model.predict(wrong),
        lambda: model.predict_proba(wrong),
    ):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call()
    assert alike(everything(model), before)
