"""What outputs are held to: classification against torch's own distributions and autograd, and what an objective that lacks something says."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from lifelong.core.errors import MethodError
from lifelong.core.objective import Classification, Labels, Measure, Objective, active_classes, labels_of

C = 6
ACTIVE: dict[str, Tensor | None] = {
    "all": None,
    "some": torch.tensor([True, False, True, True, False, True]),
    "of each example": torch.tensor(
        [[True, True, False, False, False, True], [False, True, True, True, True, False]] * 4
    ),
}
among = pytest.mark.parametrize("which", ACTIVE)


def drawn(which: str, n: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, labels that are active, and what is active for each example ``[n, C]``."""
    g = torch.Generator().manual_seed(0)
    active = ACTIVE[which]
    active = torch.ones(n, C, dtype=torch.bool) if active is None else active.expand(n, C)
    f = 2 * torch.randn(n, C, generator=g, dtype=torch.float64)
    y = torch.multinomial(active.double(), 1, generator=g).squeeze(1)
    return f, y, active


# --- classification -----------------------------------------------------------------------------------------------------
@among
def test_losses_are_cross_entropy_among_the_active_classes(which: str) -> None:
    f, y, active = drawn(which)
    objective = Classification(ACTIVE[which])
    by_hand = [-float(f[i, active[i]].log_softmax(0)[int(active[i, : y[i]].sum())]) for i in range(len(y))]
    assert objective.losses(f, y).tolist() == pytest.approx(by_hand)
    assert float(objective.loss(f, y)) == pytest.approx(sum(by_hand) / len(y))
    told = Labels(y, active)  # what an example knows itself counts, whatever the task's
    for other in (Classification(), Classification(torch.tensor([True, False, False, False, False, False]))):
        assert torch.equal(other.losses(f, told), objective.losses(f, y))
        assert torch.equal(other.scores(f, told), objective.scores(f, y))
        assert torch.equal(other.pull(f, told), objective.pull(f, y))


@among
def test_scores_are_right_or_wrong_among_the_active_classes(which: str) -> None:
    f, y, active = drawn(which)
    by_hand = [max((float(v), c) for c, v in enumerate(f[i]) if active[i, c])[1] == int(y[i]) for i in range(len(y))]
    assert Classification(ACTIVE[which]).scores(f, y).tolist() == by_hand
    assert Classification(ACTIVE[which]).measure == Measure("accuracy", "", True, 0.0, 1.0)


@among
@pytest.mark.parametrize("T", [1.0, 2.0, 0.5])
def test_divergence_is_the_kl_up_to_the_teachers_entropy(which: str, T: float) -> None:
    f, _, active = drawn(which)
    z = torch.randn(f.shape, generator=torch.Generator().manual_seed(1), dtype=f.dtype)
    found = Classification(ACTIVE[which]).divergence(f, z, T)
    for i in range(len(f)):
        ours, teacher = (Categorical(logits=t[i, active[i]] / T) for t in (f, z))
        assert float(found[i]) == pytest.approx(float(kl_divergence(teacher, ours) + teacher.entropy()))


@among
def test_a_divergence_of_inactive_outputs_has_no_gradient(which: str) -> None:
    f, _, active = drawn(which)
    f.requires_grad_()
    z = torch.randn(f.shape, generator=torch.Generator().manual_seed(1), dtype=f.dtype)
    Classification(ACTIVE[which]).divergence(f, z, 2.0).sum().backward()
    assert f.grad.isfinite().all()
    assert not f.grad[~active].any()
    assert f.grad[active].all()


@among
def test_targets_are_drawn_from_the_models_own_distribution(which: str) -> None:
    f, _, active = drawn(which, 8)
    objective, n = Classification(ACTIVE[which]), 20_000
    generator = torch.Generator().manual_seed(3)
    counts = torch.zeros(f.shape, dtype=torch.float64)
    for _ in range(n // 100):
        many = Classification(None if objective.active is None else active.repeat(100, 1))
        counts += F.one_hot(many.sample(f.repeat(100, 1), generator), C).view(100, 8, C).sum(0)
    q = f.masked_fill(~active, float("-inf")).softmax(1)
    assert not counts[~active].any()
    spread = (q * (1 - q) / n).sqrt()
    assert bool(((counts / n - q).abs() <= 4.5 * spread + 1e-12).all())
    again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    assert torch.equal(*(objective.sample(f, g) for g in again))


@among
def test_factors_are_the_exact_fisher_of_the_outputs(which: str) -> None:
    """Σ_c w_c v_c v_cᵀ = diag(q) − q qᵀ = E_y [∂ℓ ∂ℓᵀ], of each example."""
    f, _, active = drawn(which)
    objective = Classification(ACTIVE[which])
    factors = objective.factors(f)
    q = f.masked_fill(~active, float("-inf")).softmax(1)
    closed = torch.diag_embed(q) - q[:, :, None] * q[:, None, :]
    found = sum(w[:, None, None] * v[:, :, None] * v[:, None, :] for v, w in factors)
    torch.testing.assert_close(found, closed)
    assert len(factors) == int(active.any(0).sum())
    expected = torch.zeros_like(closed)
    for c in range(C):
        g = f.clone().requires_grad_()
        one = Classification().losses(g, Labels(torch.full((len(f),), c), active))
        [d] = torch.autograd.grad(torch.where(active[:, c], one, 0.0).sum(), g)
        expected += torch.where(active[:, c], q[:, c], 0.0)[:, None, None] * d[:, :, None] * d[:, None, :]
    torch.testing.assert_close(found, expected)


def test_factors_are_made_when_they_are_asked_for() -> None:
    f, _, _ = drawn("some")
    factors = Classification(ACTIVE["some"]).factors(f)
    assert len(factors[1:3]) == 2
    for (v, w), (a, b) in zip(factors[1:3], list(factors)[1:3]):
        assert torch.equal(v, a)
        assert torch.equal(w, b)
    for i in range(len(f)):
        for (v, w), (a, b) in zip(factors.of(i), factors):  # type: ignore[attr-defined]
            assert torch.equal(v, a[i : i + 1])
            assert torch.equal(w, b[i : i + 1])


@among
def test_the_pull_is_minus_the_gradient_of_the_loss(which: str) -> None:
    f, y, _ = drawn(which)
    objective = Classification(ACTIVE[which])
    g = f.clone().requires_grad_()
    [d] = torch.autograd.grad(objective.losses(g, y).sum(), g)
    torch.testing.assert_close(objective.pull(f, y), -d)
    torch.testing.assert_close(Objective.pull(objective, f, y), -d)  # what an objective has that says nothing better
    assert objective.pull(f.bfloat16(), y).dtype == torch.float32  # 1 − q would often be 0


def test_what_is_not_active_counts_as_minus_infinity() -> None:
    f, _, active = drawn("some")
    counted = Classification(ACTIVE["some"]).counted(f)
    assert counted[~active].isneginf().all()
    assert torch.equal(counted[active], f[active])
    assert Classification().counted(f) is f
    assert torch.equal(active_classes(Classification(ACTIVE["some"])), ACTIVE["some"])
    assert active_classes(Classification()) is None


def test_targets_of_several_tasks_join() -> None:
    y = torch.tensor([0, 1])
    first, second = torch.tensor([True, True, False]), torch.tensor([[False, True, True], [True, False, True]])
    objective = Classification(first)
    assert objective.joined([y, y + 1]).tolist() == [0, 1, 1, 2]  # among the task's own classes: nothing to say
    both = objective.joined([y, Labels(y, second)])
    assert isinstance(both, Labels)
    assert both.y.tolist() == [0, 1, 0, 1]
    assert both.active.tolist() == [[True, True, False]] * 2 + second.tolist()
    every = Classification().joined([Labels(y, second), y])
    assert every.active.tolist() == second.tolist() + [[True] * 3] * 2
    assert Classification(second).joined([y, Labels(y, second)]).active.tolist() == second.tolist() * 2
    assert torch.equal(labels_of(both), both.y)
    assert labels_of(y) is y


def test_targets_keep_what_their_task_knew() -> None:
    y = torch.tensor([0, 1])
    first, told = torch.tensor([True, True, False]), Labels(y, torch.tensor([[True, True, True]] * 2))
    kept = Classification(first).own(y)
    assert kept.active.tolist() == [[True, True, False]] * 2
    assert Classification(first).own(told) is told
    assert Classification().own(y) is y
    f = torch.randn(2, 3)
    other = Classification(torch.tensor([False, True, True]))
    assert torch.equal(other.losses(f, kept), Classification(first).losses(f, y))


# --- an objective of one's own ------------------------------------------------------------------------------------------
class Squares(Objective):
    """Says its losses, and nothing else."""

    measure: ClassVar[Measure] = Measure("squared error", higher_is_better=False, low=0.0)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(1) / 2


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("scores", lambda o, f: o.scores(f, f)),
        ("divergence", lambda o, f: o.divergence(f, f)),
        ("sample", lambda o, f: o.sample(f, torch.Generator())),
        ("factors", lambda o, f: o.factors(f)),
    ],
)
def test_what_an_objective_lacks_is_refused_by_name(what: str, ask: Any) -> None:
    with pytest.raises(
        MethodError, match=f"the objective Squares offers no {what}: define it there, or choose a method"
    ):
        ask(Squares(), torch.zeros(2, 3))


def test_what_an_objective_offers() -> None:
    class Drawing(Squares):
        def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
            return outputs + torch.randn(outputs.shape, generator=generator)

    assert Squares().offers == frozenset()
    assert Drawing().offers == {"sample"}
    assert Classification().offers == {"scores", "divergence", "sample", "factors"}
    with pytest.raises(TypeError, match="losses"):
        Objective()  # type: ignore[abstract]


def test_what_follows_from_the_losses_alone() -> None:
    f, y = torch.randn(4, 3), torch.randn(4, 3)
    objective = Squares()
    torch.testing.assert_close(objective.loss(f, y), F.mse_loss(f, y) * 3 / 2)
    torch.testing.assert_close(objective.pull(f, y), y - f)
    assert objective.counted(f) is f
    assert torch.equal(objective.joined([y[:1], y[1:]]), y)
    assert objective.own(y) is y
    assert active_classes(objective) is None
    with torch.no_grad():
        torch.testing.assert_close(objective.pull(f, y), y - f)  # within a slot as well


def test_classification_is_final() -> None:
    """Its `loss` does not ask its `losses`: what a subclass overrides there would do nothing."""
    with pytest.raises(MethodError, match=r"Weighted derives from Classification.*derive it from Objective"):
        type("Weighted", (Classification,), {})
