"""What every method must obey. Each law is a function of a method that raises `LawBroken` where it does not hold."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch

from ..core import state_io
from ..core.chain import Chain, chain
from ..core.errors import MethodError
from ..core.method import GROUPS, InStep, Method
from ..core.modes import evaluating
from ..core.random import generator
from ..core.stream import Scenario, Stream
from ..loops.guard import protect
from ..methods import L2, Finetune
from ..release.predictor import answering as answering_part
from ..runs.checkpoint import Store
from ..runs.fitting import fit
from ..training.learner import Learner
from ..training.settings import Training
from .device_law import waits_for_no_device
from .laws import LawBroken, holds, same, weights
from .ranks_law import ranks_give_what_one_gives
from .toys import toy_learner, toy_net, toy_stream
from .writing_law import watched

__all__ = ["METHOD_LAWS", "learnt", "scenarios"]

SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class")
MOMENTUM = Training(lr=0.02, momentum=0.9, batch_size=16, epochs=2)
TRAININGS = (MOMENTUM, Training(optimizer="adam", lr=0.01, batch_size=10, epochs=2, weight_decay=0.01))


def scenarios(method: Method) -> Iterator[Scenario]:
    """Those in which the method runs."""
    for scenario in SCENARIOS:
        try:
            method.check(scenario)
        except MethodError:
            continue
        yield scenario


def learnt(method: Method, stream: Stream, training: Training = MOMENTUM, dropout: float = 0.0) -> Learner:
    """A learner that has learnt all of a stream."""
    learner = toy_learner(method, stream, training, dropout=dropout)
    _learn(learner, stream)
    return learner


def _learn(learner: Learner, stream: Stream) -> None:
    while learner.learnt < len(stream):
        task = stream[learner.learnt]
        if learner.method.traits.once and task.index + 1 < len(stream):
            learner.remember(task)
        else:
            learner.learn(task)


def _first(method: Method) -> Scenario:
    """A scenario in which it runs."""
    found = next(scenarios(method), None)
    if found is None:
        raise LawBroken("it runs in no scenario: check(scenario) refuses all of them")
    return found


def _blobs(method: Method, scenario: Scenario | None = None, examples: int = 96) -> Stream:
    return toy_stream(scenario or _first(method), examples=examples, inputs=method.inputs)


def runs_somewhere(method: Method) -> None:
    """It runs in some scenario, and its `scenarios` says in which."""
    _first(method)
    for scenario in scenarios(method):
        holds(
            scenario in method.scenarios,
            f"check({scenario!r}) passes, and `scenarios` {method.scenarios} leaves it out",
        )


def is_hyperparameters(method: Method) -> None:
    """A method is frozen, comparable and described: a run can be told from its printed method."""
    kind = type(method)
    holds(
        method == replace(method),
        f"{method} is not equal to a copy of itself: make it a dataclass of plain hyperparameters",
    )
    said = (kind.__doc__ or "").strip()
    written = (
        said.startswith(f"{kind.__name__}(") and said.endswith(")") and "\n" not in said
    )  # by @dataclass, for want of one
    holds(not written and said not in ("", (Method.__doc__ or "").strip()), f"{kind.__name__} has no docstring")
    holds(
        method.name != Method.name or type(method) in (Method, Finetune),
        f"{kind.__name__} has no name: name: ClassVar[str] = ...",
    )
    try:
        cast(Any, method).anything = 1
    except AttributeError:
        return
    raise LawBroken(f"{kind.__name__} can be changed: @dataclass(frozen=True)")


def neutral_is_fine_tuning(method: Method) -> None:
    """At its neutral hyperparameters it gives fine-tuning's bits, weights and answers, and otherwise it does not."""
    for scenario in scenarios(method):
        stream = _blobs(method, scenario)
        for training in TRAININGS:
            free = _fine_tuned(scenario, training, method.inputs, torch.get_num_threads())
            acting = learnt(method, stream, training)
            if method.acts:
                holds(
                    not _as_one(free, acting, stream),
                    f"in the scenario {scenario!r} it ends on the bits of fine-tuning: nothing that it does has an effect",
                )
            if method.neutral is not None:
                holds(
                    _as_one(free, learnt(replace(method, **method.neutral), stream, training), stream),
                    f"in the scenario {scenario!r} it does not end on the bits of fine-tuning at {dict(method.neutral)}, which it calls neutral",
                )
    if method.neutral is None:
        holds(bool(method.no_neutral), "it has no neutral hyperparameters, and `no_neutral` does not say why")


@lru_cache(maxsize=16)
def _fine_tuned(scenario: Scenario, training: Training, inputs: tuple[int, ...], threads: int) -> Learner:
    """What every method is compared with; a sum may depend on the number of threads."""
    return learnt(Finetune(), toy_stream(scenario, inputs=inputs), training)


def _as_one(one: Learner, other: Learner, stream: Stream) -> bool:
    """The same weights and the same answers, to the last bit."""
    if not same(weights(one.net), weights(other.net)):
        return False
    tests = [(next(task.test.all(len(task.test))).x, task) for task in stream]
    return all(torch.equal(one.scores(x, task), other.scores(x, task)) for x, task in tests)


def chain_of_one_is_the_method(method: Method) -> None:
    """``chain(m)`` is m, and a chain that holds it alone learns the same."""
    stream = _blobs(method)
    holds(chain(method) is method, "chain(method) is not the method itself")
    if not method.acts and type(method) not in (Method, Finetune):
        overrides = isinstance(method, Chain) or Method.acts.fget(method)  # type: ignore[attr-defined]
        raise LawBroken(
            f"at the hyperparameters of {method} it acts in no slot, and is fine-tuning: check it at others"
            if overrides
            else f"it overrides no slot, and is fine-tuning: {', '.join(GROUPS[InStep][:5])} and others are slots (docs/methods.md)"
        )
    holds(chain(Finetune(), method) == method, "fine-tuning beside it changes it")
    if method.acts:
        alone, chained = learnt(method, stream), learnt(Chain((method,)), stream)
        holds(same(weights(alone.net), weights(chained.net)), "in a chain of its own it learns something else")
        a, b = (learner.evaluate(stream)[0][0] for learner in (alone, chained))
        holds(a == b, f"in a chain of its own it answers something else: accuracy {b} in place of {a}")


def answers_before_its_first_task(method: Method) -> None:
    """It answers, and counts its parameters, when nothing is learnt yet; in a chain as well."""
    stream = _blobs(method)
    if not _beside_l2(method):
        return
    alone, chained = toy_learner(method, stream), toy_learner(chain(method, L2(0.0)), stream)
    a, b = (learner.evaluate(stream)[0][0] for learner in (alone, chained))
    holds(
        a == b or (a != a and b != b),
        f"before the first task a chain answers something else: accuracy {b} in place of {a}",
    )
    counts = [(learner.parameters, learner.memory_bytes) for learner in (alone, chained)]
    holds(counts[0] == counts[1], f"a chain counts other parameters and bytes: {counts[1]} in place of {counts[0]}")


def neutral_companion_changes_nothing(method: Method) -> None:
    """Beside a penalty of strength 0 it learns the same bits."""
    stream = _blobs(method)
    if _beside_l2(method):
        both = learnt(chain(method, L2(0.0)), stream)
        holds(same(weights(learnt(method, stream).net), weights(both.net)), "beside L2(0) it learns something else")


def _beside_l2(method: Method) -> bool:
    try:
        chain(method, L2(0.0))
    except MethodError:
        return False
    return True


def three_ways_agree(method: Method) -> None:
    """`fit`, a `Learner` and (where it is portable) `protect` in one's own loop end on the same bits."""
    scenario = _first(method)
    stream = _blobs(method, scenario)
    by_hand = learnt(method, stream)
    run = fit(method, toy_net(stream.outputs, inputs=stream.shape), stream, training=MOMENTUM)
    a, b = run.matrix().R[-1].tolist(), [accuracy for accuracy, _, _ in by_hand.evaluate(stream)]
    holds(a == b, f"fit ends on the accuracies {a}, and a Learner on {b}")
    if not method.portable:
        try:
            protect(by_hand.net, by_hand.optimizer, method)
        except MethodError:
            return
        raise LawBroken("it is not portable, and protect does not refuse it")
    net = _guarded(method, stream)
    holds(
        same(weights(by_hand.net), weights(net)), "in one's own loop (protect) it ends on other weights than a Learner"
    )


def _guarded(method: Method, stream: Stream) -> torch.nn.Module:
    """The network after a loop of one's own."""
    net = toy_net(stream.outputs, inputs=stream.shape)
    optimizer = MOMENTUM.build(net)
    guard = protect(net, optimizer, method, scenario=stream.scenario)
    for task in stream:
        guard.begin(task.classes if stream.scenario != "domain" else None)
        for epoch in range(MOMENTUM.epochs):
            order = torch.randperm(len(task.train), generator=generator(0, f"order/{task.index}/0/{epoch}"))
            for index in order.split(MOMENTUM.batch_size):
                chunk = task.train.subset(index)
                x, y, _ = next(chunk.all(len(index)))
                batch = guard.mix(x, y)
                loss = guard.loss(net(batch.x), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        guard.consolidate(task.train)
    return net


def state_survives_saving(method: Method) -> None:
    """Saved and loaded, between tasks or within one, it goes on to the same bits; going on does not write into what was saved."""
    stream = _blobs(method, examples=2100)  # more than one chunk, so that a task pauses
    training = replace(MOMENTUM, epochs=1, lr=0.005)
    whole = learnt(method, stream, training, dropout=0.3)
    for within in (False, True):
        first = toy_learner(method, stream, training, dropout=0.3)
        if method.traits.once:
            for task in stream.tasks[:-1]:
                first.remember(task)
        else:
            first.learn(stream[0])
        if within and next(first.steps(stream[first.learnt]), None) is None:
            continue  # it takes no steps in this task
        _goes_on(method, stream, training, first, whole, "within a task" if within else "between tasks")


def _goes_on(method: Method, stream: Stream, training: Training, first: Learner, whole: Learner, moment: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.save(first.state_dict())
        second = toy_learner(method, stream, training, dropout=0.3)
        with torch.no_grad():
            for p in second.net.parameters():
                p.add_(1.0)  # whatever was there before must not matter
        saved = store.newest()
        assert saved is not None
        second.load_state_dict(saved, past=stream.tasks[: first.learnt])
        _learn(second, stream)
        holds(same(weights(whole.net), weights(second.net)), f"saved and loaded {moment} it goes on to other weights")
        a, b = whole.costs.forward, second.costs.forward
        holds(a == b, f"saved and loaded {moment} it counts other costs: {b} in place of {a}")
        again = store.newest()
        assert again is not None
        holds(same(saved["tensors"], again["tensors"]), f"loaded {moment}, it writes into what was loaded")
        ends = [[accuracy for accuracy, _, _ in learner.evaluate(stream)] for learner in (whole, second)]
        holds(
            ends[0] == ends[1], f"saved and loaded {moment} it answers something else: {ends[1]} in place of {ends[0]}"
        )


def state_is_its_own(method: Method) -> None:
    """The state shares no memory with the network, which its owner goes on writing to."""
    learner = learnt(method, _blobs(method))
    tensors, _ = state_io.split(learner.state, "state")
    nets = {t.untyped_storage().data_ptr() for t in learner.net.state_dict().values()}
    shared = [name for name, t in tensors.items() if t.numel() and t.untyped_storage().data_ptr() in nets]
    holds(not shared, f"{', '.join(shared[:3])}: these are the network's own tensors: clone() them")


def export_answers(method: Method) -> None:
    """What an export holds of the state, written and read, answers as the whole does; it holds no examples that the answers do not need."""
    if "predict" not in method.acts:
        return
    stream = _blobs(method)
    learner = learnt(method, stream)
    answering, state = answering_part(learner)
    assert answering is not None
    tensors, skeleton = state_io.split(state, "state")
    task = stream[0]
    x = next(task.test.all(len(task.test))).x

    def answers(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        state = state_io.join(answering.state_type, skeleton, tensors, "state")
        with torch.no_grad(), evaluating(learner.net):
            return answering.predict(state, learner.net, x, None if learner.scenario != "task" else 0)

    found = answers(tensors)
    with torch.no_grad(), evaluating(learner.net):
        whole = method.predict(learner.state, learner.net, x, None if learner.scenario != "task" else 0)
    holds(torch.equal(found, whole), "with what `answering` leaves of its state, it answers something else")
    trained = torch.cat([next(t.train.all(len(t.train))).x for t in stream]).flatten(1)
    for name, t in tensors.items():
        if t.shape[1:] != stream.shape or not (t.flatten(1)[:, None] == trained).all(2).any():
            continue  # no examples
        blank = tensors | {name: torch.zeros_like(tensors[name])}
        holds(
            not torch.equal(found, answers(blank)),
            f"an export would hold the examples in {name!r}, which `predict` does not read: leave them out in `answering`",
        )


def seeds_decide(method: Method) -> None:
    """The same seed gives the same bits, another seed others."""
    scenario = _first(method)
    stream = _blobs(method, scenario)
    ends = []
    for seed in (3, 3, 4):
        learner = Learner(toy_net(stream.outputs, inputs=stream.shape), method, MOMENTUM, scenario=scenario, seed=seed)
        _learn(learner, stream)
        ends.append(weights(learner.net))  # the same initial weights: what differs is the order and the draws
    holds(same(ends[0], ends[1]), "two runs of one seed differ: draw from context.generator alone")
    if not same(ends[0], weights(toy_net(stream.outputs, inputs=stream.shape))):  # it trains the network
        holds(not same(ends[0], ends[2]), "two seeds give the same weights")


def nothing_global_changes(method: Method) -> None:
    """Nothing is drawn from a generator that everybody shares; threads, default type and gradient mode are as they were."""

    def state() -> tuple[object, ...]:
        return torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()

    def others() -> tuple[object, ...]:
        _, key, place, *_ = cast(Any, np.random.get_state())  # noqa: NPY002 (somebody may draw from it)
        return random.getstate(), key.tobytes(), place

    drawn, before, elsewhere = torch.get_rng_state(), state(), others()
    for scenario in scenarios(method):
        stream = _blobs(method, scenario, examples=48)
        learner = learnt(method, stream, replace(MOMENTUM, epochs=1))
        # a learner has torch's own generator to itself while it learns, and without dropout nothing draws from it
        drops = any(isinstance(m, torch.nn.modules.dropout._DropoutNd) for m in learner.net.modules())
        holds(
            drops or torch.equal(learner.random, toy_learner(method, stream).random),
            "it draws from torch's own generator: draw from context.generator",
        )
    stream = _blobs(method)
    learnt(method, stream, replace(MOMENTUM, lr=0.005), dropout=0.2).evaluate(stream)
    holds(torch.equal(drawn, torch.get_rng_state()), "it draws from torch's own generator: draw from context.generator")
    holds(elsewhere == others(), "it draws from Python's or numpy's own generator: draw from context.generator")
    holds(before == state(), f"threads, default type, gradient mode were {before}, and are {state()}")


def answers_each_example_by_itself(method: Method) -> None:
    """What it answers to an example does not depend on the others that are asked with it."""
    if not method.acts & {"predict", "network"}:
        return  # the network answers
    for scenario in scenarios(method):
        stream = _blobs(method, scenario)
        learner = learnt(method, stream)
        task = stream[0]
        x = next(task.test.all(len(task.test))).x
        whole = learner.scores(x, task)
        parts = torch.cat([learner.scores(part, task) for part in x.split((1, 7, len(x) - 8))])
        near = 1e-3 * (1 + whole[whole.isfinite()].abs().max()) if bool(whole.isfinite().any()) else 0.0
        alike = torch.isclose(whole, parts, rtol=0.0, atol=float(near), equal_nan=True)
        holds(
            bool(alike.all()),
            f"in the scenario {scenario!r} its answers depend on the other examples that are asked with one (by a mean over the batch?): answer each "
            "row of x by itself",
        )


def writes_what_is_its_own(method: Method) -> None:
    """A slot writes neither into the step's inputs, targets and outputs nor, where it may not, into the weights; `observe` stores copies; the
    network is left in the mode that it was in; the examples of a task stay as they are."""
    for scenario in scenarios(method):
        stream = _blobs(method, scenario, examples=48)
        examples = [next(part.all(len(part))).x for task in stream for part in (task.train, task.test)]
        before = [x.clone() for x in examples]
        learnt(watched(method), stream, replace(MOMENTUM, epochs=1)).evaluate(stream)
        holds(
            all(torch.equal(now, was) for now, was in zip(examples, before)),
            "it writes into the examples of a task, which others read as well: clone() what is to be changed",
        )


METHOD_LAWS: tuple[Callable[[Method], None], ...] = (
    runs_somewhere,
    is_hyperparameters,
    neutral_is_fine_tuning,
    chain_of_one_is_the_method,
    answers_before_its_first_task,
    neutral_companion_changes_nothing,
    three_ways_agree,
    state_survives_saving,
    state_is_its_own,
    export_answers,
    seeds_decide,
    nothing_global_changes,
    answers_each_example_by_itself,
    writes_what_is_its_own,
    waits_for_no_device,
    ranks_give_what_one_gives,
)
