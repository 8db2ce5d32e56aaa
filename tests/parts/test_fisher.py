"""Importances against one-by-one autograd, against closed forms, and against each other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from importance_cases import CASES, case, context_of
from lifelong.core.errors import DataError, MethodError
from lifelong.core.examples import Examples, Joined, Tensors
from lifelong.parts import sensitivity as module
from lifelong.parts.fisher import fisher
from lifelong.parts.sensitivity import sensitivity


def one_by_one(net: nn.Module, x: Tensor, y: Tensor, kind: str, mask: Tensor | None = None) -> dict[str, Tensor]:
    """The definition, an example and a class at a time, by plain autograd."""
    net.eval()
    named = {n: p for n, p in net.named_parameters() if p.requires_grad}
    total = {n: torch.zeros_like(p) for n, p in named.items()}
    for i in range(len(x)):
        f = net(x[i : i + 1])[0]
        if mask is not None:
            f = f.masked_fill(~mask, float("-inf"))
        log_q = f.log_softmax(0)
        classes = range(len(f)) if mask is None else mask.nonzero().flatten().tolist()
        labels = {"exact": list(classes), "argmax": [int(f.argmax())], "empirical": [int(y[i])]}[kind]
        for c in labels:
            grads = torch.autograd.grad(log_q[c], list(named.values()), retain_graph=True, materialize_grads=True)
            weight = float(log_q[c].exp().detach()) if kind == "exact" else 1.0
            for n, g in zip(named, grads):
                total[n] += weight * g**2 / len(x)
    return total


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["exact", "argmax", "empirical"])
@pytest.mark.parametrize("name", CASES)
def test_fisher_is_that_of_single_examples(name: str, kind: str, masked: bool) -> None:
    net, x, y = case(name)
    mask = torch.tensor([True, True, False, True]) if masked else None
    if masked:
        y = torch.where(y == 2, 3, y)
    found = fisher(context_of(net, x, y, mask), kind).dict()
    truth = one_by_one(net, x, y, kind, mask)
    assert found.keys() == truth.keys()
    for n in truth:
        torch.testing.assert_close(found[n], truth[n], rtol=1e-9, atol=1e-12)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, y = case("conv")
    whole = fisher(context_of(net, x, y)).flat()
    monkeypatch.setattr(module, "BYTES", 4 * 2 * 4 * 2 * 9)  # two examples at once
    torch.testing.assert_close(fisher(context_of(net, x, y)).flat(), whole, rtol=1e-10, atol=1e-14)


def test_the_square_of_a_batch_mean_is_another_quantity() -> None:
    """The commonest error in the field: held to differ, and to differ by how the batch is cut."""
    net, x, y = case("mlp")
    loss = F.cross_entropy(net(x), y)
    squared_mean = torch.cat([g.flatten() ** 2 for g in torch.autograd.grad(loss, list(net.parameters()))])
    assert float(fisher(context_of(net, x, y), "empirical").flat().sum()) > 2 * float(squared_mean.sum())


def test_logistic_regression_in_closed_form() -> None:
    """Two outputs, one layer: F of W[c, j] is E[q (1 − q) x_j²], the same for both outputs."""
    torch.manual_seed(0)
    net, x = nn.Linear(3, 2).double(), torch.randn(50, 3).double()
    q = net(x).softmax(1)[:, 0].detach()
    closed = ((q * (1 - q))[:, None] * x**2).mean(0)
    found = fisher(context_of(net, x, torch.zeros(50, dtype=torch.int64)))
    torch.testing.assert_close(found["weight"][0], closed)
    torch.testing.assert_close(found["weight"][1], closed)
    torch.testing.assert_close(found["bias"][0], (q * (1 - q)).mean())


def test_sampled_goes_to_exact() -> None:
    net, x, y = case("mlp")
    many = x[:3].repeat(4000, 1)
    exact = fisher(context_of(net, x[:3], y[:3])).flat()
    drawn = fisher(context_of(net, many, torch.zeros(len(many), dtype=torch.int64)), "sampled").flat()
    assert float((drawn - exact).norm() / exact.norm()) < 0.05
    other = fisher(context_of(net, many, torch.zeros(len(many), dtype=torch.int64), seed=1), "sampled").flat()
    assert not torch.equal(drawn, other)


def second_derivatives(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    named = {n: p.detach() for n, p in net.named_parameters()}
    flat = torch.cat([p.flatten() for p in named.values()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in named.values()])
        weights = {n: v.view_as(p) for (n, p), v in zip(named.items(), parts)}
        return F.cross_entropy(torch.func.functional_call(net, weights, (x,)), y)

    return torch.autograd.functional.hessian(loss, flat).diagonal()


def test_hessian_by_brute_force() -> None:
    net, x, y = case("no bias")  # tanh: curvature of its own
    truth = second_derivatives(net, x, y)
    torch.testing.assert_close(fisher(context_of(net, x, y), "hessian").flat(), truth.clamp(min=0))
    assert float(truth.min()) < 0  # some curvature is negative here, so clamping is seen


def test_hessian_of_a_relu_network_is_the_exact_fisher() -> None:
    net, x, y = case("mlp")
    torch.testing.assert_close(fisher(context_of(net, x, y), "hessian").flat(), fisher(context_of(net, x, y)).flat())


def test_hessian_refuses_a_large_network() -> None:
    net = nn.Linear(200, 200)
    with pytest.raises(MethodError, match="40,200 weights"):
        fisher(context_of(net, torch.zeros(1, 200), torch.zeros(1, dtype=torch.int64)), "hessian")


def test_absolute_gradients() -> None:
    """The sum that MAS needs: E |∂ ‖f‖²|, an example at a time."""
    for name in CASES:
        net, x, y = case(name)
        found = sensitivity(context_of(net, x, y), lambda f, y, objective: [(2 * f, None)], power=1).dict()
        named = dict(net.eval().named_parameters())
        trained = {n: p for n, p in named.items() if p.requires_grad}
        truth = {n: torch.zeros_like(p) for n, p in trained.items()}
        for i in range(len(x)):
            grads = torch.autograd.grad(net(x[i : i + 1]).square().sum(), list(trained.values()))
            for n, g in zip(trained, grads):
                truth[n] += g.abs() / len(x)
        for n in truth:
            torch.testing.assert_close(found[n], truth[n], rtol=1e-9, atol=1e-12, msg=f"{name} {n}")


def test_the_network_is_left_as_it_was() -> None:
    net, x, y = case("conv")
    net.train()
    net[1].eval()
    before = {n: b.clone() for n, b in net.state_dict().items()}
    fisher(context_of(net, x, y))
    assert [m.training for m in net] == [True, False, True, True, True]
    assert all(torch.equal(b, before[n]) for n, b in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())


def test_costs_are_counted() -> None:
    net, x, y = case("mlp")
    context = context_of(net, x, y)
    fisher(context)
    assert (context.costs.forward, context.costs.backward) == (11, 44)


def test_a_limit_takes_that_many() -> None:
    net, x, y = case("mlp")
    context = context_of(net, x, y)
    found = fisher(context, "empirical", limit=5).flat()
    assert context.costs.forward == 5
    index = torch.randperm(11, generator=torch.Generator().manual_seed(0))[:5]
    torch.testing.assert_close(found, fisher(context_of(net, x[index], y[index]), "empirical").flat())


class Folded(nn.Module):
    """Reads frames one by one: what its layers get has another first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(3, 5), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.a(x.reshape(-1, 3))).reshape(len(x), -1))


class Outside(nn.Module):
    """A layer's weight is used a second time, outside the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.a(x) + F.linear(x, self.a.weight.T)))


class TwoHeads(nn.Module):
    """One of its heads takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out, self.idle = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(input=torch.tanh(self.body(x)))


class SamePadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = (
            nn.Conv2d(2, 3, 3, padding="same"),
            nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"),
            nn.Linear(72, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))).flatten(1))


class Looking(nn.Module):
    """What it does depends on the data, as with sentences some of which are padded."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.rand(6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x * self.scale if bool((x > 0).any()) else x)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
@pytest.mark.parametrize("make", [Folded, Outside, TwoHeads, SamePadding, Looking])
def test_where_the_rules_would_be_wrong(make: type[nn.Module], kind: str) -> None:
    torch.manual_seed(2)
    net, y = make().double(), torch.randint(4, (11,))
    x = torch.randn(11, 2, 6, 6).double() if make is SamePadding else torch.randn(11, 6).double()
    found, truth = fisher(context_of(net, x, y), kind).dict(), one_by_one(net, x, y, kind)
    for n in truth:
        torch.testing.assert_close(found[n], truth[n], rtol=1e-9, atol=1e-12)


def test_examples_that_know_their_outputs() -> None:
    """Joint training in the scenario "task": each example competes among its own task's classes."""
    net, x, y = case("mlp")
    first, second = torch.tensor([True, True, False, False]), torch.tensor([False, False, True, True])
    parts = [Tensors(x[:6], y[:6] % 2, mask=first), Tensors(x[6:], y[6:] % 2 + 2, mask=second)]
    context = context_of(net, x, y, second)
    joined = fisher(dataclasses.replace(context, examples=Joined(parts))).flat()
    each = [one_by_one(net, p.x, p.y, "exact", p.mask) for p in parts]
    expected = torch.cat([(6 * each[0][n] + 5 * each[1][n]).flatten() / 11 for n in each[0]])
    torch.testing.assert_close(joined, expected)


def test_data_that_can_be_read_once_only() -> None:
    net, x, y = case("mlp")

    class Once(Examples):  # its second reading is empty
        def __init__(self) -> None:
            self.left = [True, False]

        def __len__(self) -> int:
            return len(y)

        def all(self, rows: int = 512):  # type: ignore[no-untyped-def]
            return iter(Tensors(x, y).all(rows) if self.left.pop(0) else ())

        def chunks(self, order, rows):  # type: ignore[no-untyped-def]
            raise AssertionError

        subset = shape = labels = None

    with pytest.raises(DataError, match="read more than once"):
        fisher(dataclasses.replace(context_of(net, x, y), examples=Once()))


def test_hessian_in_double_precision_with_a_mask_leaves_modes_alone() -> None:
    net, x, y = case("no bias")
    net[1].eval()
    mask = torch.tensor([True, True, False, True])
    y = torch.where(y == 2, 3, y)
    found = fisher(context_of(net, x.float(), y, mask), "hessian").flat()
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in net.parameters()])
        weights = {n: v.view_as(p) for (n, p), v in zip(net.named_parameters(), parts)}
        f = torch.func.functional_call(net, weights, (x.float().double(),))
        return F.cross_entropy(f.masked_fill(~mask, float("-inf")), y)

    torch.testing.assert_close(found, torch.autograd.functional.hessian(loss, flat).diagonal().clamp(min=0))
    assert [m.training for m in net] == [True, False, True]


def test_an_unknown_kind() -> None:
    net, x, y = case("mlp")
    with pytest.raises(MethodError, match="exact, sampled, argmax, empirical, hessian"):
        fisher(context_of(net, x, y), "exakt")
