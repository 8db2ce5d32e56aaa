"""The estimators against scikit-learn's and river's own checks, and against the learner that they carry."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from river import checks, preprocessing
from river import datasets as river_data
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from lifelong.core.errors import DataError, LifelongError, MethodError
from lifelong.core.examples import Tensors
from lifelong.core.method import Method
from lifelong.core.random import derive
from lifelong.core.stream import Task
from lifelong.loops import LifelongClassifier, OnlineClassifier
from lifelong.loops.incremental import Incremental
from lifelong.loops.river_estimator import _row
from lifelong.methods import AGEM, DER, EWC, GEM, SI, Finetune, GenerativeReplay, ICaRL, LwF, NearestMean, Replay
from lifelong.nets import MLP
from lifelong.training.learner import Learner
from lifelong.training.settings import Training
from lifelong.training.test_then_train import test_then_train
from toys import FEATURES, same, toy_learner, toy_net, toy_stream, weights

QUICK = Training(optimizer="adam", lr=0.02, epochs=10, batch_size=32)


# a class that is alone leaves nothing to hold, and the method says so: here it is what is asked for
ALONE = pytest.mark.filterwarnings("ignore:.*the importance of every weight is 0:lifelong.core.errors.LifelongWarning")


# --- scikit-learn --------------------------------------------------------------------------------------------------------
ESTIMATORS = [
    LifelongClassifier(),
    LifelongClassifier(EWC(1.0), MLP((16,)), QUICK, calls="tasks"),
    LifelongClassifier(DER(50), MLP((16,)), QUICK, calls="steps"),
]
SKLEARN = [
    pytest.param(estimator, check, id=f"{i}-{n}-{check.func.__name__}")
    for i, one in enumerate(ESTIMATORS)
    for n, (estimator, check) in enumerate(estimator_checks_generator(one))
    if check.func.__name__ != "check_array_api_input"  # below: it needs a setting before scipy is loaded
]


@ALONE
@pytest.mark.parametrize(("estimator", "check"), SKLEARN)
def test_scikit_learns_own_checks(estimator: LifelongClassifier, check) -> None:
    check(estimator)


def test_scikit_learns_check_of_array_dispatch() -> None:
    code = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from lifelong.loops import LifelongClassifier
[(e, check)] = [(e, c) for e, c in estimator_checks_generator(LifelongClassifier()) if c.func.__name__ == "check_array_api_input"]
check(e)
print("held")
"""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "held\n", done.stderr


def tasks(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(t.train.x.double().numpy(), t.train.y.numpy()) for t in toy_stream("class", tasks=count)]


def test_a_call_is_a_task() -> None:
    """The same bits as the learner's own loop on the same tasks, with outputs that grow."""
    model = LifelongClassifier(Replay(30), MLP((16,)), QUICK, random_state=3)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        net = MLP((16,))((FEATURES,), 3)
    learner = Learner(net, Replay(30), QUICK, scenario="class", seed=seed, dtype=torch.float64, grows=True)
    for i, (X, y) in enumerate(tasks()):
        model.partial_fit(X, y)
        examples = Tensors(torch.from_numpy(X), torch.from_numpy(y))
        learner.learn(Task(f"{i}", examples, examples, tuple(np.unique(y).tolist())))
        assert model.classes_.tolist() == list(range(3 * i + 3))
        assert model.predict_proba(X).shape == (len(X), 3 * i + 3)
    assert same(weights(model.learner_.net), weights(learner.net))
    X, y = tasks()[0]
    assert model.predict(X).tolist() == learner.predict(torch.from_numpy(X)).tolist()


def test_it_keeps_classes_that_a_network_alone_loses() -> None:
    whole = tasks()
    scores = {}
    for method in (Replay(90), Finetune()):
        model = LifelongClassifier(method, MLP((32,)), QUICK)
        for X, y in whole:
            model.partial_fit(X, y)
        scores[method.name] = model.score(*whole[0])
    assert scores["replay"] > scores["finetune"] + 0.3


def test_labels_come_in_any_order() -> None:
    """Columns follow the sorted labels, however late one comes; what was announced and did not come has probability 0."""
    rng = np.random.default_rng(0)
    centres = {"walrus": 0, "ant": 1, "cat": 2}

    def draw(*labels: str) -> tuple[np.ndarray, np.ndarray]:
        y = np.array(labels)[rng.integers(len(labels), size=200)]
        return np.eye(4)[[centres[label] for label in y]] * 3 + rng.normal(size=(200, 4)) * 0.3, y

    model = LifelongClassifier(training=QUICK)
    model.partial_fit(*draw("walrus", "cat"), classes=["walrus", "cat", "zebra"])
    assert model.classes_.tolist() == ["cat", "walrus", "zebra"]
    model.partial_fit(*draw("ant"))
    assert model.classes_.tolist() == ["ant", "cat", "walrus", "zebra"]
    X, y = draw("ant", "cat", "walrus")
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p[:, 3] == 0).all()
    assert model.score(X, y) > 0.95
    with pytest.raises(DataError, match="all numbers or all strings"):
        model.partial_fit(X, np.zeros(len(X), dtype=int))


@pytest.mark.parametrize("calls", ["tasks", "steps"])
def test_pickling_goes_on_bit_for_bit(calls: str) -> None:
    whole = tasks()
    model = LifelongClassifier(Replay(30), MLP((16,), dropout=0.2), QUICK, calls=calls)
    model.partial_fit(*whole[0])
    again, third = pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    for one in (model, again, third):
        one.partial_fit(*whole[1])
    assert same(weights(model.learner_.net), weights(again.learner_.net))
    assert same(weights(model.learner_.net), weights(third.learner_.net))


def test_fit_begins_anew() -> None:
    X, y = tasks()[1]
    model = LifelongClassifier(training=QUICK).partial_fit(*tasks()[0])
    once = weights(model.fit(X, y).learner_.net)
    assert model.classes_.tolist() == [3, 4, 5]
    assert same(once, weights(clone(model).fit(X, y).learner_.net))


def test_constants_are_parameters() -> None:
    model = LifelongClassifier(EWC(2.0), MLP((8,)), QUICK)
    assert model.get_params()["method__strength"] == 2.0
    assert "method__strength" not in model.get_params(deep=False)
    model.set_params(method__strength=5.0, training__lr=0.1, net__hidden=(4, 4))
    assert (model.method, model.training.lr, model.net) == (EWC(5.0), 0.1, MLP((4, 4)))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="method__stregth"):
        model.set_params(method__stregth=1.0)
    X, y = tasks()[0]
    with pytest.raises(MethodError, match=r"method EWC\(.*strength=7.0.*it was EWC\(.*strength=5.0"):
        model.partial_fit(X, y).set_params(method__strength=7.0).partial_fit(X, y)
    default = LifelongClassifier()
    assert default.get_params()["training__lr"] == 0.01
    assert default.set_params(training__lr=0.5).training == Training(optimizer="adam", lr=0.5, epochs=20, batch_size=32)
    pipe = make_pipeline(StandardScaler(), LifelongClassifier(EWC(1.0), MLP((8,)), QUICK))
    found = GridSearchCV(pipe, {"lifelongclassifier__training__lr": [1e-6, 0.02]}, cv=2).fit(X, y)
    assert found.best_params_ == {"lifelongclassifier__training__lr": 0.02}


def test_steps_are_single_passes() -> None:
    """In steps every row is passed once, and calls make no tasks; in tasks, epochs times."""
    X, y = tasks()[0]
    steps = LifelongClassifier(Finetune(), MLP((8,)), QUICK, calls="steps")
    whole = LifelongClassifier(Finetune(), MLP((8,)), QUICK)
    for _ in range(3):
        steps.partial_fit(X, y)
        whole.partial_fit(X, y)
    assert (steps.learner_.costs.backward, steps.learner_.learnt) == (3 * len(X), 0)
    assert (whole.learner_.costs.backward, whole.learner_.learnt) == (3 * 10 * len(X), 3)
    with pytest.raises(MethodError, match="ewc acts when a task has ended"):
        LifelongClassifier(EWC(1.0), calls="steps").partial_fit(X, y)
    with pytest.raises(MethodError, match="icarl needs whole tasks"):
        LifelongClassifier(ICaRL(10), calls="steps").partial_fit(X, y)
    with pytest.raises(MethodError, match="calls 'call'"):
        LifelongClassifier(calls="call").fit(X, y)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        LifelongClassifier().predict(X)


def test_methods_that_answer_themselves() -> None:
    X, y = tasks()[0]
    model = LifelongClassifier(NearestMean()).fit(X, y)
    means = np.stack([X[y == c].mean(0) for c in range(3)])
    nearest = ((X[:, None] - means) ** 2).sum(2).argmin(1)
    assert (model.predict(X) == nearest).mean() > 0.99


# --- river ---------------------------------------------------------------------------------------------------------------
ONLINE = [
    OnlineClassifier(Replay(20, batch_size=2), MLP((8,))),
    OnlineClassifier(SI(1.0), MLP((8,)), Training(optimizer="adam", lr=0.01, clip=1.0), task=50, features=30),
]
DIFFERENT = (
    "check_emerging_features",
    "check_disappearing_features",
    "check_pickling",
    "check_predict_proba_one",
)  # in the second
CHECKS = [
    pytest.param(model, check, id=f"{i}-{n}-{check.__name__}")
    for i, model in enumerate(ONLINE)
    for n, check in enumerate(checks.yield_checks(model))
    if check.__name__ not in model._unit_test_skips() and (i == 0 or check.__name__ in DIFFERENT)
]


@ALONE
@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_rivers_own_checks(model: OnlineClassifier, check) -> None:
    check(model.clone())


def test_one_example_is_one_step() -> None:
    """The same bits as the learner's steps."""
    stream = toy_stream("class", tasks=2)
    model = OnlineClassifier(Replay(20, batch_size=4), MLP((16,)), Training(lr=0.05))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "weights"))
        net = MLP((16,))((FEATURES,), 1)
    learner = Learner(net, Replay(20, batch_size=4), Training(lr=0.05), scenario="class", grows=True)
    outputs: dict[int, int] = {}
    for task in stream:
        for x, y in zip(task.train.x, task.train.y.tolist()):
            outputs.setdefault(y, len(outputs))
            learner.step(x[None], torch.tensor([outputs[y]]))
            model.learn_one({f"{i:02}": float(v) for i, v in enumerate(x)}, y)
    assert model.learner is not None
    assert same(weights(learner.net), weights(model.learner.net))
    assert list(model._incremental.labels.items()) == list(outputs.items())
    assert (learner.learnt, learner.seen) == (5, (0, 1, 2, 3, 4, 5))  # each new class began a task


@ALONE
def test_a_class_that_is_alone_ends_a_task() -> None:
    """One output's probability is 1 whatever the weights; there will be more of them."""
    model = OnlineClassifier(EWC(1.0), task=10)
    rows = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).tolist()
    for i, (u, v) in enumerate(rows):
        model.learn_one({"u": u, "v": v}, "abc"[i % 3])
    assert set(model.predict_proba_one({"u": 0.0, "v": 0.0})) == {"a", "b", "c"}


@ALONE
def test_a_task_is_so_many_examples() -> None:
    """EWC looks back after every 40: the same as a learner whose tasks are finished by hand."""
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    model = Incremental(EWC(5.0), MLP((8,)), Training(lr=0.05), seed=0, task=40)
    model.announce([0, 1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "weights"))
        net = MLP((8,))((5,), 2)
    learner = Learner(net, EWC(5.0), Training(lr=0.05), scenario="class", grows=True)
    first = int((y != y[0]).nonzero()[0])  # the other class begins a task
    ends = [first, first + 40, first + 80]
    start = 0
    for i in range(100):
        if i in ends:
            learner.finish(Tensors(x[start:i], y[start:i]))
            start = i
        model.step(x[i : i + 1], [int(y[i])])
        learner.step(x[i : i + 1], y[i : i + 1])
    assert model.learner is not None
    for a, b in zip(weights(learner.net).values(), weights(model.learner.net).values()):
        torch.testing.assert_close(a, b)  # the last bits depend on where examples lie in memory
    assert model.learner.learnt == learner.learnt == 3


def test_features_have_columns_by_their_names() -> None:
    model = OnlineClassifier(features=3)
    model.learn_one({"b": 1.0, "a": 2.0}, True)
    model.learn_one({"d": 1.0, "c": 5.0, "a": 1.0}, False)
    assert model._columns == {"a": 0, "b": 1, "c": 2}
    assert model.left_out == {"d"}
    assert _row({"c": 1, "a": True, "z": 9.0}, model._columns, 3).tolist() == [[1.0, 0.0, 1.0]]
    with pytest.raises(DataError, match="'b' is 'red'"):
        model.learn_one({"b": "red"}, True)
    assert OnlineClassifier().predict_proba_one({"a": 1.0}) == {}
    assert OnlineClassifier().predict_one({"a": 1.0}) is None


def test_it_learns_prequentially() -> None:
    model = preprocessing.StandardScaler() | OnlineClassifier(training=Training(lr=0.05))
    hits = []
    for x, y in itertools.islice(river_data.Phishing(), 600):
        hits.append(model.predict_one(x) == y)
        model.learn_one(x, y)
    assert np.mean(hits[300:]) > 0.8


@pytest.mark.parametrize("method", [GEM(10), LwF(), AGEM(10), GenerativeReplay()], ids=lambda m: m.name)
def test_what_acts_from_the_second_task_on_is_refused_where_none_ends(method: Method) -> None:
    stream = toy_stream("domain")
    assert method.traits.later
    assert not Replay(10).traits.later
    assert not AGEM(10, fill="reservoir").traits.later
    with pytest.raises(MethodError, match=f"{method.name} acts when a task has ended"):
        OnlineClassifier(method).learn_one({"a": 1.0}, 0)
    with pytest.raises(MethodError, match="in this loop none ends"):
        test_then_train(toy_learner(method, stream), stream)


def test_what_the_learner_refuses_in_steps() -> None:
    stream = toy_stream("task")
    with pytest.raises(MethodError, match="scenario 'task' has whole tasks"):
        Learner(toy_net(9), scenario="task").step(stream[0].train.x[:2], stream[0].train.y[:2])
    learner = Learner(toy_net(9), EWC(1.0), scenario="class")
    learner.step(stream[0].train.x[:2], torch.tensor([0, 0]))
    with pytest.raises(MethodError, match="ewc looks at"):
        learner.step(stream[0].train.x[:2], torch.tensor([0, 1]))
    with pytest.raises(MethodError, match="ewc acts when a task has ended"):
        OnlineClassifier(EWC(1.0)).learn_one({"a": 1.0}, 0)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import lifelong.loops as estimators

    monkeypatch.setitem(sys.modules, "lifelong.loops.river_estimator", None)
    with pytest.raises(LifelongError, match=r"pip install 'lifelong\[river\]'"):
        _ = estimators.__getattr__("OnlineClassifier")
