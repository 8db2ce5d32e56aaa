"""A method inside somebody's own loop."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lifelong import EWC, L2, SI, DataError, Joint, LwF, Method, MethodError, Replay, chain, protect
from lifelong.core.contexts import Spec, StepContext
from lifelong.core.segments import Batch
from lifelong.core.vector import Vector
from lifelong.loops.guard import Guard
from toys import same, toy_net, toy_stream, weights


def loop(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, epochs: int = 2) -> None:
    for _ in range(epochs):
        for bx, by in zip(x.split(16), y.split(16)):
            optimizer.zero_grad()
            F.cross_entropy(net(bx), by).backward()
            optimizer.step()


def test_an_ordinary_loop_needs_two_lines() -> None:
    stream = toy_stream("domain")
    free, held = toy_net(stream.outputs), toy_net(stream.outputs)
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.1) for n in (free, held)]
    guard = protect(held, optimizers[1], EWC(100.0, implicit=True))
    for task in stream.tasks[:2]:
        for net, optimizer in zip((free, held), optimizers):
            loop(net, optimizer, task.train.x, task.train.y)
        if task.index == 0:
            assert same(weights(free), weights(held))
            guard.consolidate(DataLoader(TensorDataset(task.train.x, task.train.y), batch_size=10))
            quadratic = guard.state

    def strayed(net: nn.Module) -> float:
        away = Vector.of(net).clone() - quadratic.m
        return float((quadratic.A * away.square()).flat().sum())

    assert strayed(held) < 0.2 * strayed(free)


@pytest.mark.parametrize("kind", ["pair", "loader", "examples"])
def test_a_rehearsal_leaves_no_trace(kind: str) -> None:
    """Nothing of the model, of the guard or of anybody's draws; what it would say at the end it says."""
    stream = toy_stream("domain")
    train = stream[0].train

    class Drawing(TensorDataset):
        def __getitem__(self, i: int) -> tuple[Tensor, ...]:
            random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002 (as people do)
            return super().__getitem__(i)

    data = {
        "pair": (train.x, train.y),
        "loader": DataLoader(Drawing(train.x, train.y), batch_size=7, shuffle=True),
        "examples": train,
    }[kind]
    net = toy_net(stream.outputs)
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), chain(EWC(1.0, importance="sampled"), Replay(9)))
    with pytest.raises(MethodError, match=r"guard\.begin"):
        guard.rehearse(data)
    guard.begin()
    before, drawn = guard.state_dict(), (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())  # noqa: NPY002
    own, costs = weights(net), replace(guard.costs)
    guard.rehearse(data)
    after = guard.state_dict()
    assert (own.keys(), same(own, weights(net)), guard.costs) == (weights(net).keys(), True, costs)
    assert same(before["tensors"], after["tensors"])
    assert before["meta"] == after["meta"]
    assert random.getstate() == drawn[0]
    assert np.array_equal(np.random.get_state()[1], drawn[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), drawn[2])
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), EWC(1.0, importance="empirical"))
    guard.begin()
    with pytest.raises(MethodError, match="needs labels"):
        guard.rehearse(train.x)


def test_pair_loader_and_examples_are_the_same_data() -> None:
    stream = toy_stream("domain")
    x, y = stream[0].train.x, stream[0].train.y
    found = []
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=7), stream[0].train):
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, EWC(1.0))
        loop(net, optimizer, x, y)
        guard.consolidate(data)
        found.append(guard.state.A.flat())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


@pytest.mark.filterwarnings("ignore:the weights were replaced")  # by this test
def test_several_parameter_groups_each_with_its_rate() -> None:
    """The implicit step uses each group's own learning rate; a frozen tensor is left alone."""
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    net[0].weight.requires_grad_(False)
    groups = [{"params": net[2].parameters(), "lr": 0.2}, {"params": [net[0].bias, *net[4].parameters()], "lr": 0.01}]
    optimizer = torch.optim.SGD(groups)
    guard = protect(net, optimizer, L2(3.0, implicit=True))
    frozen = net[0].weight.clone()
    loop(net, optimizer, stream[0].train.x, stream[0].train.y)
    guard.consolidate(stream[0].train)
    anchor = guard.theta.clone()
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(1.0)
    optimizer.zero_grad()
    (net(stream[0].train.x).sum() * 0).backward()
    optimizer.step()
    for name, p in guard.theta:
        eta = 0.2 if name.startswith("2.") else 0.01
        torch.testing.assert_close(p.detach(), anchor[name] + 1 / (1 + eta * 6), rtol=1e-5, atol=1e-5)
    assert torch.equal(frozen, net[0].weight)


def test_saved_and_loaded() -> None:
    stream = toy_stream("domain")

    def start() -> tuple[nn.Module, torch.optim.Optimizer, Any]:
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        return net, optimizer, protect(net, optimizer, chain(EWC(5.0), L2(0.01)))

    net, optimizer, guard = start()
    loop(net, optimizer, stream[0].train.x, stream[0].train.y)
    guard.consolidate(stream[0].train)
    saved, model = guard.state_dict(), weights(net)
    net2, optimizer2, guard2 = start()
    net2.load_state_dict(model)
    guard2.load_state_dict(saved)
    for n, o in ((net, optimizer), (net2, optimizer2)):
        loop(n, o, stream[1].train.x, stream[1].train.y)
    assert same(weights(net), weights(net2))
    guard2.remove()
    with pytest.raises(MethodError, match="saved by the method"):
        protect(net2, optimizer2, EWC(5.0)).load_state_dict(saved)


def test_removed_it_is_as_if_it_had_never_been() -> None:
    stream = toy_stream("domain")
    free, held = toy_net(stream.outputs), toy_net(stream.outputs)
    for net in (free, held):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, L2(1.0)) if net is held else None
        loop(net, optimizer, stream[0].train.x, stream[0].train.y)
        if guard is not None:
            guard.consolidate(stream[0].train)
            guard.remove()
        loop(net, optimizer, stream[1].train.x, stream[1].train.y)
    assert same(weights(free), weights(held))


@dataclass(frozen=True)
class Replaying(Method):
    """Needs the batch, as a replaying method does."""

    name: ClassVar[str] = "replaying"

    def init(self, theta: Vector, spec: Spec) -> None:
        return None

    def segments(self, state: None, batch: Batch, context: StepContext) -> Batch:
        return batch.plus(batch.new)


def test_what_is_refused() -> None:
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(MethodError, match="joint needs a training loop of its own"):
        protect(net, optimizer, Joint())
    guard = protect(net, optimizer, EWC(1.0))
    with pytest.raises(MethodError, match="none has begun"):
        guard.consolidate(stream[0].train)
    guard.remove()
    other = torch.optim.SGD(toy_net(3).parameters(), lr=0.1)
    with pytest.raises(MethodError, match="none of the model's parameters"):
        protect(net, other, EWC(1.0))
    for p in net.parameters():
        p.requires_grad_(False)
    with pytest.raises(MethodError, match="no trainable parameters"):
        protect(net, optimizer, EWC(1.0))
    for p in net.parameters():
        p.requires_grad_(True)
    guard = protect(net, optimizer, Replaying())
    with pytest.raises(MethodError, match=r"guard\.mix"):
        loop(net, optimizer, stream[0].train.x, stream[0].train.y)
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), EWC(1.0), scenario="class")
    with pytest.raises(MethodError, match=r"guard\.begin\(classes"):
        guard.begin()


def test_a_parameter_without_gradient_is_still_guarded() -> None:
    """A head that takes no part in the loss has no gradient of its own; its guard pulls it back all the same."""
    net = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    guard = protect(net, optimizer, L2(1.0))
    net["a"](torch.ones(2, 4)).sum().backward()
    optimizer.step()
    guard.state = guard.state.moved(guard.theta.ones(), guard.theta)
    with torch.no_grad():
        net["b"].weight.add_(1.0)
    away = net["b"].weight.clone()
    optimizer.zero_grad()
    net["a"](torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert bool((net["b"].weight < away).all())


def test_a_step_with_a_closure() -> None:
    """Trainers that hand the whole step to the optimiser (Lightning) end on the same bits."""
    stream = toy_stream("domain")
    x, y = stream[0].train.x, stream[0].train.y
    nets = []
    for way in ("plain", "closure", "keyword"):
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, chain(L2(0.5), SI(0.5)))
        for task in range(2):
            for bx, by in zip(x.split(16), (y + task).remainder(3).split(16)):

                def closure(net: nn.Module = net, bx: Tensor = bx, by: Tensor = by) -> Tensor:
                    optimizer.zero_grad()  # noqa: B023
                    loss = F.cross_entropy(net(bx), by)
                    loss.backward()
                    return loss

                if way == "plain":
                    closure()
                    optimizer.step()
                elif way == "closure":
                    optimizer.step(closure)
                else:
                    optimizer.step(closure=closure)
            guard.consolidate((x, y))
        nets.append((weights(net), guard.state[1].omega.flat()))
    assert same(nets[0][0], nets[1][0])
    assert same(nets[0][0], nets[2][0])
    assert torch.equal(nets[0][1], nets[1][1])
    assert float(nets[0][1].abs().sum()) > 0


def test_an_iterator_of_batches() -> None:
    stream = toy_stream("domain")
    x, y = stream[0].train.x, stream[0].train.y
    found = []
    for data in ((x, y), zip(x.split(16), y.split(16)), ((bx, by) for bx, by in zip(x.split(16), y.split(16)))):
        net = toy_net(stream.outputs)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        guard = protect(net, optimizer, EWC(1.0))
        loop(net, optimizer, x, y)
        guard.consolidate(data)
        found.append(guard.state.A.flat())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    assert float(found[0].sum()) > 0


@pytest.mark.parametrize("method", [EWC(0.0), SI(0.0), L2(0.0), L2(0.0, implicit=True)])
def test_an_idle_head_stays_where_plain_training_leaves_it(method: Method) -> None:
    """A weight without gradient is passed over by the optimiser, momentum and decay included; a guard must not change that."""

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 3), nn.Linear(12, 3)
            self.active = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.active(x)

    stream = toy_stream("domain")
    ends = []
    for guarded in (False, True):
        torch.manual_seed(0)
        net = TwoHeads()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        guard = protect(net, optimizer, method) if guarded else None
        for task, head in zip(stream, (net.a, net.b, net.a)):
            net.active = head
            loop(net, optimizer, task.train.x, task.train.y)
            if guard is not None:
                guard.consolidate(task.train)
        ends.append(weights(net))
    assert same(*ends)


def test_both_ways_of_taking_a_penalty_rest_at_the_same_point() -> None:
    """With momentum too: the minimum of ½ (θ − 3)² + λ (θ − 1)² is (3 + 2λ) / (1 + 2λ)."""
    for momentum in (0.0, 0.9):
        for implicit in (False, True):
            net = nn.Linear(1, 1, bias=False)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=momentum)
            guard = protect(net, optimizer, L2(2.0, implicit=implicit))
            guard.begin()
            guard.state = guard.state.moved(guard.theta.ones(), guard.theta.ones())
            for _ in range(4000):
                optimizer.zero_grad()
                (0.5 * (net.weight - 3).square()).sum().backward()
                optimizer.step()
            assert float(net.weight.detach()) == pytest.approx((3 + 4) / (1 + 4), abs=2e-2)


# --- what silently was fine-tuning --------------------------------------------------------------------------------------
def plain_loop(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def test_a_task_that_was_not_consolidated_is_no_edge() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(4, 3)), (torch.randn(12, 4), torch.arange(12) % 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0), scenario="class")
    guard.begin([0, 1, 2])
    batch = guard.mix(x, y)
    guard.loss(model(batch.x), batch).backward()
    optimizer.step()
    with pytest.raises(MethodError, match="was not consolidated"):
        guard.begin([0, 1, 2])
    guard.consolidate((x, y))
    guard.begin([0, 1, 2])


def test_another_optimizer_is_attached_and_other_weights_are_refused() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), (torch.randn(12, 4), torch.arange(12) % 3)
    model[0].requires_grad_(False)
    guard = protect(model, torch.optim.SGD(model.parameters(), 0.1), EWC(1e3))
    anew = torch.optim.SGD(model.parameters(), 0.1)
    plain_loop(model, anew, x, y)
    with pytest.raises(MethodError, match=r"guard\.attach"):
        guard.consolidate((x, y))
    guard.attach(anew)
    plain_loop(model, anew, x, y)
    guard.consolidate((x, y))
    assert guard.learnt == 1
    model[0].requires_grad_(True)
    with pytest.raises(MethodError, match="other trainable weights"):
        plain_loop(model, anew, x, y)


def test_a_loss_that_was_not_the_methods_is_refused() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(4, 3)), (torch.randn(12, 4), torch.arange(12) % 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, LwF())
    batch = guard.mix(x, y)
    F.cross_entropy(model(batch.x), batch.y).backward()
    with pytest.raises(MethodError, match="has a part in the loss"):
        optimizer.step()
    guard.remove()
    with pytest.raises(MethodError, match="was removed"):
        guard.mix(x, y)


def test_labels_classes_and_examples_are_looked_at() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(4, 3)), (torch.randn(12, 4), torch.arange(12) % 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, Replay(6), scenario="class")
    for classes in (["a"], [7], []):
        with pytest.raises(MethodError, match="expected output indices"):
            guard.begin(classes)
    guard.begin(torch.tensor([0, 1]))
    with pytest.raises(DataError, match=r"labels \[2\] are not among"):
        guard.mix(x, y)
    for wrong in (y.float(), F.one_hot(y), y[:3]):
        with pytest.raises(DataError, match="expected output indices"):
            guard.mix(x, wrong)
    guard.remove()
    held = protect(model, optimizer, EWC(1.0))
    for given in (None, [{"x": x}], [(x, y, y)], [(x, y[:3])], (x, y[:3])):
        held.begin()
        with pytest.raises(DataError, match="expected"):
            held.consolidate(given)  # type: ignore[arg-type]
    for given in (TensorDataset(x, y), [x, y], (x.numpy(), y.numpy()), [(x, y)]):
        held.begin()
        held.consolidate(given)  # type: ignore[arg-type]


def test_one_output_has_no_fisher_information() -> None:
    model = nn.Sequential(nn.Linear(4, 1))
    guard = protect(model, torch.optim.SGD(model.parameters(), 0.1), EWC(1.0))
    guard.begin()
    with pytest.raises(MethodError, match="one output"):
        guard.consolidate(torch.randn(5, 4))


def test_two_guards_on_one_optimizer_are_refused() -> None:
    net = toy_net(6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    first = protect(net, optimizer, EWC(1.0))
    with pytest.raises(MethodError, match=r"guarded by ewc already.*chain\(a, b\)"):
        protect(net, optimizer, L2(1.0))
    first.attach(optimizer)  # itself may
    first.remove()
    protect(net, optimizer, L2(1.0))


def test_a_refusal_leaves_the_guard_where_it_was_and_two_may_share_an_optimizer() -> None:
    nets = [toy_net(6), toy_net(6)]
    both = torch.optim.SGD([p for net in nets for p in net.parameters()], lr=0.1)
    for net in nets:
        protect(net, both, L2(1.0))  # each has weights of its own
    alone = torch.optim.SGD(nets[0].parameters(), lr=0.1)
    guard = protect(nets[0], alone, EWC(1.0))
    with pytest.raises(MethodError, match="guarded by l2 already"):
        guard.attach(both)
    assert alone._optimizer_step_pre_hooks
    protect(nets[0], both, Method())  # does nothing, and meets nobody


def test_ordinary_slips_are_told_with_their_mend() -> None:
    stream = toy_stream("domain")
    net, x, y = toy_net(stream.outputs), stream[0].train.x, stream[0].train.y
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for given in ([optimizer, optimizer], net):
        with pytest.raises(MethodError, match=r"protect\(model, optimizer, method\) with one torch optimizer"):
            protect(net, given, EWC(1.0))  # type: ignore[arg-type]
    guard = protect(net, optimizer, Replay(20))
    with pytest.raises(DataError, match="expected tensors, got ndarray"):
        guard.mix(x.numpy(), y.numpy())
    loop_with(guard, x[:16], y[:16].int())
    batch = guard.mix(x[:16], y[:16])
    assert len(batch.y) > 16
    with pytest.raises(DataError, match=r"16 outputs for the 32 examples of the mixed batch.*model\(batch.x\)"):
        guard.loss(net(x[:16]), batch)
    with pytest.raises(DataError, match=r"labels are output indices, from 0 to 2"):
        guard.loss(net(x[:16]), Batch((guard.mix(x[:16], y[:16] + 3).new,)))


def loop_with(guard: Guard, x: Tensor, y: Tensor) -> None:
    batch = guard.mix(x, y)
    guard.optimizer.zero_grad()
    guard.loss(guard.model(batch.x), batch).backward()
    guard.optimizer.step()


def test_what_was_saved_of_something_else() -> None:
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), Replay(10))
    loop_with(guard, stream[0].train.x, stream[0].train.y)
    saved = guard.state_dict()

    def load(net: nn.Module, method: Method, state: dict[str, Any]) -> None:
        protect(net, torch.optim.SGD(net.parameters(), lr=0.1), method).load_state_dict(state)

    with pytest.raises(MethodError, match=r"buffer_size 10 there, 40 here"):
        load(net, Replay(40), saved)
    with pytest.raises(MethodError, match=r"\[3, 16\] there, \[5, 16\] here\): give it the layers and as many outputs"):
        load(toy_net(5), Replay(10), saved)
    with pytest.raises(MethodError, match=r"expected what guard.state_dict\(\) gave"):
        load(net, Replay(10), net.state_dict())
    load(net, Replay(10), saved)
    with (
        torch.no_grad(),
        pytest.warns(UserWarning, match="not those that this was saved beside.*load the model's first"),
    ):
        load(toy_net(stream.outputs, seed=1), Replay(10), saved)


def test_a_function_among_the_constants_is_the_same_in_another_process() -> None:
    """Its repr holds an address."""
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)

    @dataclass(frozen=True)
    class Own(Method):
        name: ClassVar[str] = "own"
        change: Any = None

        def gradient(self, state: None, theta: Vector, g: Vector, *rest: Any) -> Vector:
            return g

    def state(change: Any) -> dict[str, Any]:
        return protect(net, torch.optim.SGD(net.parameters(), lr=0.1), Own(change)).state_dict()

    one, two = (state(lambda x: x) for _ in range(2))
    assert one["meta"]["constants"] == two["meta"]["constants"]
    assert "at 0x" not in one["meta"]["constants"]
