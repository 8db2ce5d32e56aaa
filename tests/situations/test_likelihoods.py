"""Models whose outputs are not the logits of one class an example, numbers that are missing, sums that stagnate, estimates without end."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import (
    EWC,
    L2,
    MAS,
    SI,
    DataError,
    Learner,
    LifelongWarning,
    Replay,
    Task,
    Tensors,
    TrainingError,
    protect,
)
from toys import same, weights

X, Y = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2


def linear(outputs: int = 2, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, outputs))


def once(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Any, y: Tensor, x: Tensor = X) -> None:
    optimizer.zero_grad()
    loss(model(x), y).backward()
    optimizer.step()


# --- another likelihood --------------------------------------------------------------------------------------------------
REGRESSION = torch.randn(64, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([52.0, 13.0])
SEVERAL = torch.randint(0, 2, (64, 2), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize(
    ("loss", "y"),
    [(F.mse_loss, REGRESSION), (F.binary_cross_entropy_with_logits, SEVERAL)],
    ids=["regression", "several labels"],
)
def test_ewc_for_a_regression_or_several_labels_warns_before_the_first_step_and_refuses_the_labels(
    loss: Any, y: Tensor
) -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    guard = protect(model, optimizer, EWC(1e6))
    with pytest.warns(LifelongWarning, match="no cross-entropy.*mas, si and l2"):
        once(model, optimizer, loss, y)
    once(model, optimizer, loss, y)  # said once
    before = weights(model)
    with pytest.raises(DataError, match=r"labels are torch\.float32.*expected class indices.*mas, si and l2"):
        guard.consolidate((X, y))
    assert guard.learnt == 0
    assert same(before, weights(model))


@pytest.mark.parametrize("method", [MAS(0.1), SI(0.1), L2(0.1)], ids=lambda m: m.name)
def test_methods_without_a_likelihood_hold_a_regression(method: Any) -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    guard = protect(model, optimizer, method)
    once(model, optimizer, F.mse_loss, REGRESSION)
    guard.consolidate((X, REGRESSION))
    assert guard.learnt == 1


def soft(output: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(output, F.one_hot(y, output.shape[1]).float() * 0.8 + 0.1)


def focal(output: Tensor, y: Tensor) -> Tensor:
    p = output.softmax(1).gather(1, y[:, None])
    return (-((1 - p) ** 2) * p.log()).mean()


def of_some(output: Tensor, y: Tensor) -> Tensor:
    mask = torch.tensor([True, True, False])
    return F.cross_entropy(output.masked_fill(~mask, float("-inf")), y, weight=torch.tensor([1.0, 3.0, 1.0]))


@pytest.mark.parametrize("loss", [F.cross_entropy, soft, focal, of_some], ids=lambda f: f.__name__)
def test_losses_of_a_softmax_pass_without_a_word(loss: Any) -> None:
    model = linear(3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0))
    once(model, optimizer, loss, Y)
    guard.consolidate((X, Y))


def test_a_model_that_ends_with_a_softmax_is_told_that_its_outputs_are_probabilities() -> None:
    model = nn.Sequential(linear(), nn.Softmax(1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0))
    with pytest.warns(LifelongWarning, match="probabilities already.*without the softmax"):
        once(model, optimizer, F.cross_entropy, Y)
    guard.consolidate((X, Y))
    task = Task("t", Tensors(X, Y), Tensors(X, Y), (0, 1))
    with pytest.warns(LifelongWarning, match="probabilities already"):
        Learner(nn.Sequential(linear(), nn.Softmax(1)), EWC(1.0), scenario="domain").learn(task)


def test_log_probabilities_are_logits_and_their_loss_is_no_other() -> None:
    """PyTorch's own MNIST example: LogSoftmax and nll_loss."""
    model = nn.Sequential(linear(), nn.LogSoftmax(1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    protect(model, optimizer, EWC(1.0))
    once(model, optimizer, F.nll_loss, Y)
    found = []
    for last in (nn.Identity(), nn.LogSoftmax(1)):
        model = nn.Sequential(linear(), last)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        guard = protect(model, optimizer, EWC(1.0))
        guard.begin()
        guard.consolidate((X, Y))
        found.append(guard.state.A.flat())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0, importance="empirical"))
    once(model, optimizer, F.cross_entropy, Y)
    guard.consolidate([(x, y.to(dtype)) for x, y in zip(X.split(16), Y.split(16))])
    task = Task("t", Tensors(X, Y.to(dtype)), Tensors(X, Y.to(dtype)), (0, 1))
    learner = Learner(linear(), Replay(10), scenario="domain")
    learner.learn(task)
    assert learner.evaluate([task])[0][1] == 64


def test_a_learner_refuses_labels_that_are_no_classes() -> None:
    with pytest.raises(DataError, match=r"labels of torch\.float32 \[64\].*expected class indices"):
        Learner(linear(), scenario="domain").learn(Task("t", Tensors(X, Y.float()), Tensors(X, Y.float()), (0, 1)))


# --- values that are missing or not finite -------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_row_with_a_missing_value_destroys_nothing(value: float) -> None:
    model, x = linear(), X.clone()
    x[37, 2] = value
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0))
    once(model, optimizer, F.cross_entropy, Y)
    for data in ((x, Y), list(zip(x.split(16), Y.split(16))), Tensors(x, Y)):
        with pytest.raises(DataError, match=r"NaN or infinite.*row 37"):
            guard.consolidate(data)
    assert guard.learnt == 0
    guard.consolidate((X, Y))
    other = linear()
    mixing = protect(other, torch.optim.SGD(other.parameters(), 0.1), Replay(10))
    with pytest.raises(DataError, match="NaN or infinite"):
        mixing.mix(x, Y)
    learner = Learner(linear(), scenario="domain")
    learner.step(X, Y)
    before = weights(learner.net)
    with pytest.raises(DataError, match="NaN or infinite"):
        learner.step(x, Y)
    assert same(before, weights(learner.net))


def test_an_importance_that_is_not_finite_is_not_taken() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, MAS(1.0))
    once(model, optimizer, F.cross_entropy, Y)
    with torch.no_grad():
        model[0].weight.mul_(1e38)
    with pytest.raises(TrainingError, match=r"NaN or infinite \(0\.weight.*is not taken"):
        guard.consolidate((X, Y))
    assert guard.state.terms == 0


# --- sums in the weights' precision --------------------------------------------------------------------------------------
class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reads, self.says = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.says(self.reads(x)[0][:, -1])


@pytest.mark.parametrize("kind", ["recurrent", "linear"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_importances_of_a_network_in_half_precision_do_not_stagnate(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    single = Recurrent() if kind == "recurrent" else nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    x = torch.randn(1000, 5, 4) if kind == "recurrent" else torch.randn(1000, 4)
    half, y = copy.deepcopy(single).to(dtype), torch.zeros(1000, dtype=torch.int64)
    for method in (EWC(1.0), MAS(1.0), SI(1.0)):
        found = []
        for model, inputs in ((single, x), (half, x.to(dtype))):
            model = copy.deepcopy(model)
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            guard = protect(model, optimizer, method)
            for part, labels in zip(inputs.split(250), y.split(250)):
                once(model, optimizer, F.cross_entropy, labels, part)
            guard.consolidate((inputs, y))
            A = guard.state.A if method.name != "si" else guard.state.omega
            found.append(A.flat())
            assert found[-1].dtype == torch.float32
        if method.name != "si":  # whose steps are themselves rounded
            assert float(found[1].sum()) == pytest.approx(float(found[0].sum()), rel=0.05)


def test_a_penalty_in_half_precision_holds() -> None:
    for implicit in (False, True):
        model = linear().bfloat16()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        guard = protect(model, optimizer, EWC(1e4, implicit=implicit) if implicit else L2(5.0))
        x = X.bfloat16()
        once(model, optimizer, F.cross_entropy, Y, x)
        guard.consolidate((x, Y))
        before = weights(model)
        for _ in range(20):
            once(model, optimizer, F.cross_entropy, 1 - Y, x)
        away = max(float((before[k] - now).abs().max()) for k, now in weights(model).items())
        assert away < 0.05
        assert all(p.dtype == torch.bfloat16 for p in model.parameters())


# --- the cost of a default -----------------------------------------------------------------------------------------------
def test_an_exact_fisher_of_many_classes_says_its_cost_before_it_starts() -> None:
    model = nn.Sequential(nn.Linear(4, 1000))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0))
    x, y = X.repeat(8, 1), Y.repeat(8)
    once(model, optimizer, F.cross_entropy, y, x)
    with pytest.warns(LifelongWarning, match="each of 512 examples back 1,000 times.*500 epochs.*sampled"):
        guard.consolidate((x, y))


def test_an_exact_fisher_of_a_recurrent_network_says_its_cost_before_training() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(3000, 5, 4), torch.arange(3000) % 2
    examples = Tensors(x, y)
    learner = Learner(Recurrent(), EWC(1.0), scenario="domain")
    before = weights(learner.net)

    class Told(Exception):  # noqa: N818
        pass

    def say(text: str) -> None:
        assert "each of 3,000 examples back 2 times" in text
        assert "one example after another" in text
        assert same(before, weights(learner.net))
        raise Told

    learner.warn = say  # type: ignore[method-assign]
    with pytest.raises(Told):
        learner.learn(Task("t", examples, examples, (0, 1)))


@pytest.mark.parametrize("method", [EWC(1.0, importance="sampled"), EWC(1.0, fisher_examples=20), MAS(1.0)], ids=repr)
def test_cheap_estimates_are_silent(method: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 1000))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, method)
    x, y = X.repeat(8, 1), Y.repeat(8)
    once(model, optimizer, F.cross_entropy, y, x)
    guard.consolidate((x, y))


@pytest.mark.parametrize("importance", ["exact", "hessian"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batch_norm_and_the_hessian_in_half_precision(dtype: torch.dtype, importance: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    found = []
    for kind in (torch.float32, dtype):
        half = copy.deepcopy(model).to(kind).eval()
        guard = protect(half, torch.optim.SGD(half.parameters(), 0.1), EWC(1.0, importance=importance))
        guard.begin()
        guard.consolidate((X.to(kind), Y))
        found.append(float(guard.state.A.flat().sum()))
    assert found[1] == pytest.approx(found[0], rel=0.05)
