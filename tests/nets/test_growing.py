"""Outputs that come with the classes: a stream that does not announce them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lifelong import MLP, Finetune, Learner, Stream, Task, Tensors, Training, fit, stream_of
from lifelong.core.errors import DataError, MethodError
from lifelong.core.growth import Growth, IndexMap
from lifelong.core.method import Method
from lifelong.core.registry import METHODS
from lifelong.core.state_io import split
from lifelong.nets.growing import grow, more_outputs
from lifelong.runs.checkpoint import Store
from toys import FEATURES, same, toy_net, toy_stream, weights

TRAINING = Training(lr=0.05, momentum=0.9, batch_size=16, epochs=2)
NAMES = [n for n in METHODS if "class" in METHODS[n].load().scenarios and n != "independent"]
OWN_NETWORK = {
    n for n in NAMES if METHODS[n].load().network is not Method.network or "expand" in METHODS[n].load()().acts
}
HOLDS_WHAT_IS_TO_COME = {
    "l2",
    "der",
    "derpp",
}  # where the outputs of later classes are there from the start, they guard those as well


class Foreseen(nn.Module):
    """Grows the outputs that `whole` has."""

    def __init__(self, whole: nn.Module, outputs: int) -> None:
        super().__init__()
        self.last = {n: t.clone() for n, t in whole.state_dict().items()}
        self.body = toy_net(outputs)
        rows = {n: t[: p.shape[0]] for (n, t), p in zip(self.last.items(), self.body.state_dict().values())}
        self.body.load_state_dict(rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def grow(self, operation: Growth) -> IndexMap:
        old = self.body[-1].out_features
        inner = more_outputs(self.body, operation)
        with torch.no_grad():
            self.body[-1].weight[old:] = self.last["4.weight"][old : operation.size]
            self.body[-1].bias[old:] = self.last["4.bias"][old : operation.size]
        return inner._replace(source={f"body.{n}": (f"body.{o}", i) for n, (o, i) in inner.source.items()})


def learnt(learner: Learner, stream: Stream) -> Learner:
    for task in stream:
        if learner.method.traits.once and task.index + 1 < len(stream):
            learner.remember(task)
        else:
            learner.learn(task)
    return learner


@pytest.mark.parametrize("name", sorted(set(NAMES) - OWN_NETWORK - HOLDS_WHAT_IS_TO_COME))
def test_growing_equals_outputs_that_were_there_from_the_start(name: str) -> None:
    method, stream = METHODS[name].load()(), toy_stream("class")
    whole = toy_net(stream.outputs)
    grown = learnt(Learner(Foreseen(whole, 3), method, TRAINING, grows=True), stream)
    learner = learnt(Learner(whole, method, TRAINING), stream)
    assert grown.spec.outputs == stream.outputs
    for a, b in zip(grown.theta.tensors, learner.theta.tensors):
        assert torch.allclose(a, b, atol=1e-4), float((a - b).abs().max())
    assert [a for a, _, _ in grown.evaluate(stream)] == pytest.approx(
        [a for a, _, _ in learner.evaluate(stream)], abs=0.02
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_growing_run_resumes_to_the_same_bits(name: str, tmp_path) -> None:
    method, stream = METHODS[name].load()(), replace(toy_stream("class"), announced=False)

    def new() -> Learner:
        return Learner(toy_net(stream.outputs), method, TRAINING, grows=True)

    whole = learnt(new(), stream)
    first = new()
    for task in stream.tasks[:2]:
        first.remember(task) if method.traits.once else first.learn(task)
    Store(tmp_path).save(first.state_dict())
    second = new()
    second.load_state_dict(Store(tmp_path).newest(), past=stream.tasks[:2])
    second.learn(stream[2])
    assert same(weights(whole.net), weights(second.net))
    ours, theirs = split(whole.state)[0], split(second.state)[0]
    assert all(torch.allclose(t, theirs[n], rtol=0, atol=0, equal_nan=True) for n, t in ours.items())


@pytest.mark.parametrize("name", NAMES)
def test_no_class_that_was_not_seen_is_answered(name: str) -> None:
    method, stream = METHODS[name].load()(), replace(toy_stream("class"), announced=False)
    if method.traits.once:
        return  # it answers when the last task has come
    learner = Learner(toy_net(stream.outputs), method, TRAINING, grows=True)
    for task in stream:
        learner.learn(task)
        for other in stream:
            answers = learner.predict(other.test.x).unique().tolist()
            assert set(answers) <= set(learner.seen)


def test_moments_follow_and_begin_at_zero() -> None:
    stream = toy_stream("class", tasks=2)
    learner = Learner(toy_net(3), Finetune(), Training(optimizer="adam", batch_size=16), grows=True)
    learner.learn(stream[0])
    before = {n: learner.optimizer.state[p]["exp_avg"].clone() for n, p in learner.theta}
    learner.grow([Growth("outputs", size=6, seed=1)])
    for n, p in learner.theta:
        after = learner.optimizer.state[p]["exp_avg"]
        assert torch.equal(after[: len(before[n])], before[n])
        assert not after[len(before[n]) :].any()


def test_your_own_data_need_not_announce_their_classes() -> None:
    g = torch.Generator().manual_seed(0)
    first = torch.randn(40, FEATURES, generator=g), ["cat", "dog"] * 20
    second = (
        torch.randn(60, FEATURES, generator=g),
        ["dog", "cow", "hen"] * 20,
    )  # a class that returns, and more of them
    stream = stream_of([first, second], announced=False)
    assert (stream.outputs, stream.class_names, stream[1].classes) == (2, ("cat", "dog", "cow", "hen"), (1, 2, 3))
    run = fit(Finetune(), MLP((8,)), stream, training=TRAINING)
    record = next(iter(run.records.values()))
    assert record.parameters[-1] - record.parameters[0] == 2 * 9
    assert run.matrix().R.shape == (3, 2)


def test_classes_out_of_order() -> None:
    stream = replace(toy_stream("class").reorder([2, 0, 1]), announced=False)
    assert stream.outputs == 9
    learner = Learner(toy_net(stream.outputs), Finetune(), TRAINING, grows=True)
    learner.learn(stream[0])
    assert set(learner.predict(stream[1].test.x).tolist()) <= {6, 7, 8}


def test_what_cannot_grow_says_so() -> None:
    stream = toy_stream("class")
    with pytest.raises(DataError, match=r"grows=True"):
        Learner(toy_net(3), Finetune(), TRAINING).learn(stream[1])
    with pytest.raises(MethodError, match="scenario 'class'"):
        Learner(toy_net(3), Finetune(), TRAINING, scenario="task", grows=True)
    with pytest.raises(DataError, match="unannounced"):
        replace(toy_stream("task"), announced=False)
    with pytest.raises(MethodError, match="no linear layer"):
        grow(nn.Sequential(nn.Flatten()), Growth("outputs", size=3))
    with pytest.raises(MethodError, match="ask for more"):
        grow(toy_net(3), Growth("outputs", size=3))
    with pytest.raises(MethodError, match="no method grow"):
        grow(toy_net(3), Growth("sideways", "0", 32))
    negative = Task("odd", Tensors(torch.zeros(2, FEATURES), torch.tensor([-1, 4])), stream[0].test, (0,))
    with pytest.raises(DataError, match="labels -1"):
        Learner(toy_net(3), Finetune(), TRAINING, grows=True).learn(negative)


def classes(*names: str, known: tuple[str, ...] = ()) -> Stream:
    """One task of your own data, its classes apart."""
    x = torch.cat([torch.randn(20, 6) + 4 * torch.eye(6)[i % 6] for i in range(len(names))])
    return stream_of([(x, [n for n in names for _ in range(20)])], announced=False, classes=known)


def test_what_was_saved_knows_its_classes_and_new_data_alone_go_on_from_them(tmp_path: Path) -> None:
    def fresh() -> Learner:
        return Learner(MLP((8,))((6,), 2), Finetune(), TRAINING, grows=True)

    learner = fresh()
    learner.learn(classes("cat", "dog")[0])
    assert learner.class_names == ("cat", "dog")
    Store(tmp_path).save(learner.state_dict())
    loaded, saved = fresh(), Store(tmp_path).newest()
    assert saved is not None
    loaded.load_state_dict(saved)
    assert loaded.class_names == ("cat", "dog")
    new = classes("hen", "dog", known=loaded.class_names)
    assert new.class_names == ("cat", "dog", "hen")
    assert new[0].classes == (1, 2)
    assert new.outputs == 3
    loaded.learn(new[0])
    assert loaded.class_names == ("cat", "dog", "hen")
    assert loaded.seen == (0, 1, 2)


def test_numbered_anew_a_class_is_refused() -> None:
    learner = Learner(MLP((8,))((6,), 2), Finetune(), TRAINING, grows=True)
    learner.learn(classes("cat", "dog")[0])
    before = weights(learner.net)
    alone = classes("hen")[0]
    for act in (learner.learn, lambda task: learner.evaluate([task])):
        with pytest.raises(
            DataError, match=r"calls class 0 'hen', which this network learnt as 'cat'.*classes=learner"
        ):
            act(alone)
    assert same(before, weights(learner.net))
    assert learner.class_names == ("cat", "dog")


def test_names_of_classes_that_were_not_met_may_change() -> None:
    learner = Learner(MLP((8,))((6,), 4), Finetune(), TRAINING)
    x, y = torch.randn(20, 6), torch.arange(20) % 2
    for names in (("a", "b", "c"), ("a", "b", "d", "e", "f")):
        learner.learn(Task("t", Tensors(x, y), Tensors(x, y), (0, 1), class_names=names))
    assert learner.class_names == ("a", "b", "d", "e")
    learner.learn(Task("t", Tensors(x, y), Tensors(x, y), (0, 1)))  # of no stream: without names
    assert learner.class_names == ("a", "b", "d", "e")


@pytest.mark.parametrize("known", [("cat", "cat"), "cat"])
def test_known_classes_are_names_each_once(known: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="each once"):
        classes("cat", known=known)


def test_numbers_are_classes_by_their_name() -> None:
    stream = stream_of([(torch.randn(20, 3), [7, 3] * 10)], classes=("3", "5"))
    assert stream.class_names == ("3", "5", "7")
    assert stream[0].classes == (0, 2)
    with pytest.raises(DataError, match="no example of '5'"):
        stream_of([(torch.randn(20, 3), [7, 3] * 10)], "domain", classes=("3", "5"))


def test_one_name_is_one_class() -> None:
    """Learnt as classes 2 and 3, named alone they would be 0 and 1."""
    both = stream_of([(torch.randn(20, 6), ["a", "b"] * 10), (torch.randn(20, 6), ["c", "d"] * 10)])
    learner = Learner(MLP((8,))((6,), 4), Finetune(), TRAINING)
    learner.learn(both[1])
    with pytest.raises(DataError, match="'c', which this network learnt as class 2"):
        learner.learn(stream_of([(torch.randn(20, 6), ["c", "d"] * 10)])[0])
    learner.learn(both[0])


def test_learnt_outputs_without_a_name_are_taken() -> None:
    learner = Learner(MLP((8,))((6,), 2), Finetune(), TRAINING, grows=True)
    learner.learn(classes("cat", "dog")[0])
    learner.step(torch.randn(4, 6), torch.tensor([2, 2, 2, 2]))
    learner.finish()
    assert learner.class_names == ("cat", "dog", "class 2")
    new = classes("hen", known=learner.class_names)
    assert new[0].classes == (3,)
    learner.learn(new[0])
    assert learner.class_names == ("cat", "dog", "class 2", "hen")


def test_in_other_domains_outputs_may_have_other_names_but_not_each_others() -> None:
    def task(*names: str) -> Task:
        return stream_of([(torch.randn(20, 6), [n for n in names for _ in range(10)])], "domain")[0]

    learner = Learner(MLP((8,))((6,), 2), Finetune(), TRAINING, scenario="domain")
    learner.learn(task("no", "yes"))
    learner.learn(task("nein", "ja"))
    assert learner.class_names == ("no", "yes")
    with pytest.raises(DataError, match="'yes', which this network learnt as class 1"):
        learner.learn(task("yes", "no"))
    learner.learn(replace(task("yes", "no"), class_names=()))


def test_loaded_into_another_network_it_says_which_is_meant() -> None:
    def fresh(outputs: int) -> Learner:
        return Learner(MLP((8,))((6,), outputs), Finetune(), TRAINING, grows=True)

    learner = fresh(2)
    learner.learn(classes("cat", "dog")[0])
    saved = learner.state_dict()
    other = fresh(3)
    before = weights(other.net)
    with pytest.raises(
        MethodError, match=r"\[2, 8\] there, \[3, 8\] here\): build the learner with the network as it was first"
    ):
        other.load_state_dict(saved)
    learner.learn(classes("hen", known=learner.class_names)[0])
    with pytest.raises(MethodError, match=r"has grown as this network cannot.*with the outputs that it had then"):
        other.load_state_dict(learner.state_dict())
    assert same(before, weights(other.net))
    assert other.growth == []
    right = fresh(2)
    right.load_state_dict(learner.state_dict())
    assert same(weights(right.net), weights(learner.net))


def test_classes_are_given_as_labels_are() -> None:
    data = [(torch.randn(20, 3), [True, False] * 10)]
    assert stream_of(data, classes=[False, True]).class_names == ("0", "1")  # type: ignore[list-item]
    assert stream_of(data, classes=torch.tensor([0, 1])).class_names == ("0", "1")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected the names"):
        stream_of(data, classes=5)  # type: ignore[arg-type]
