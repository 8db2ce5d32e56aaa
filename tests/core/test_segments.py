"""What a step learns from: its loss is Σ_s w_s mean_s ℓ, whatever methods make of the batch, in any order and on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lifelong.core.errors import DataError, MethodError
from lifelong.core.objective import Classification, Labels, Measure, Objective
from lifelong.core.ranks import Ranks
from lifelong.core.segments import Batch, Segment, together

D, C = 4, 5
W = torch.randn(D, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TASK = Classification(torch.tensor([True, True, True, False, True]))


class Squares(Objective):
    """Another loss: the distance of the outputs from the targets."""

    measure: ClassVar[Measure] = Measure("squared error", higher_is_better=False)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(1)


def segment(n: int, seed: int = 0, **more: Any) -> Segment:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, D, generator=g, dtype=torch.float64)
    return Segment(x, torch.randint(3, (n,), generator=g), **more)


def one_loss(s: Segment, i: int, f: Tensor) -> float:
    """The loss of a segment's i-th example, by hand."""
    if isinstance(s.objective, Squares):
        return float((f - s.y[i]).square().sum())
    active = s.y.active[i] if isinstance(s.y, Labels) else TASK.active
    y = int(s.y.y[i] if isinstance(s.y, Labels) else s.y[i])
    return -float(f.masked_fill(~active, float("-inf")).log_softmax(0)[y])


def by_hand(batch: Batch) -> float:
    """The definition, example by example."""
    total = 0.0
    for s in batch.segments:
        total += s.weight * sum(one_loss(s, i, s.x[i] @ W) for i in range(s.rows)) / s.rows
    return total


def loss(batch: Batch) -> float:
    return float(batch.loss(TASK, batch.x @ W))


def weight_of_each(batch: Batch) -> list[tuple[float, ...]]:
    """(inputs, weight) of every example, in an order that does not depend on the batch's."""
    found = [(*x.tolist(), s.weight / n) for s, n in zip(batch.segments, batch.sizes) for x in s.x]
    return sorted(found)


KINDS: dict[str, Callable[[int, int], Segment]] = {
    "plain": segment,
    "known outputs": lambda n, seed: segment(n, seed)._replace(
        y=Labels(segment(n, seed).y, torch.ones(n, C, dtype=torch.bool))
    ),
    "another objective": lambda n, seed: segment(n, seed)._replace(y=segment(n, seed + 1).x @ W, objective=Squares()),
}


# --- its loss -----------------------------------------------------------------------------------------------------------
operations = st.lists(
    st.tuples(
        st.sampled_from(sorted(KINDS)),
        st.integers(1, 4),
        st.sampled_from([None, None, 0.0, 0.3, 1.0]),
        st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),
    ),
    max_size=5,
)


@given(st.integers(1, 5), operations)
def test_the_loss_is_its_definition(new: int, made: list[tuple[str, int, float | None, float]]) -> None:
    """Whatever segments were added, of whatever kind, and however they were weighed anew."""
    batch = Batch((segment(new, 99),))
    for k, (kind, n, weight, factor) in enumerate(made):
        batch = batch.scaled(factor).plus(KINDS[kind](n, 10 * k), weight)
    assert loss(batch) == pytest.approx(by_hand(batch), rel=1e-9, abs=1e-12)
    assert batch.rows == new + sum(n for _, n, _, _ in made)


def test_one_segment_is_the_mean_of_its_losses() -> None:
    batch = Batch((segment(6),))
    f = batch.x @ W
    assert torch.equal(batch.loss(TASK, f), TASK.loss(f, batch.new.y))  # to the bit: fine-tuning is a plain loop
    assert torch.equal(batch.loss(TASK, f), F.cross_entropy(f.masked_fill(~TASK.active, float("-inf")), batch.y))


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, 0.0), (0.0, 1.0), (2.0, 2.0)])
def test_segments_that_a_method_weighs_itself(weights: tuple[float, float]) -> None:
    """Made without `plus`, each keeps its own weight."""
    batch = Batch((segment(6, weight=weights[0]), segment(2, 1, weight=weights[1])))
    assert loss(batch) == pytest.approx(by_hand(batch))
    changed = Batch((segment(6),)).plus(segment(2, 1)).mapped(lambda s: s._replace(weight=s.rows / 10))
    assert loss(changed) == pytest.approx(by_hand(changed))


def test_what_has_no_weight_has_no_loss() -> None:
    """A label that is not among the active classes would make the loss infinite."""
    old = segment(3, 1)._replace(y=torch.full((3,), 3), teacher=torch.zeros(3, C))
    batch = Batch((segment(4),)).plus(old, weight=0.0)
    f = (batch.x @ W).requires_grad_()
    batch.loss(TASK, f).backward()
    assert f.grad.isfinite().all()
    assert not f.grad[4:].any()
    assert float(batch.loss(TASK, f.detach())) == pytest.approx(loss(Batch((segment(4),))))


@given(st.integers(1, 5), operations)
def test_somebodys_own_losses_are_weighed_alike(new: int, made: list[tuple[str, int, float | None, float]]) -> None:
    batch = Batch((segment(new, 99),))
    for k, (_, n, weight, factor) in enumerate(made):
        batch = batch.scaled(factor).plus(segment(n, 10 * k), weight)
    losses = torch.rand(batch.rows, generator=torch.Generator().manual_seed(new), dtype=torch.float64)
    each = [s.weight / n for s, n in zip(batch.segments, batch.sizes) for _ in range(n)]
    assert float(batch.weighted(losses)) == pytest.approx(sum(w * float(v) for w, v in zip(each, losses)))
    f = batch.x @ W
    torch.testing.assert_close(batch.weighted(TASK.losses(f, batch.y)), batch.loss(TASK, f))


def test_a_step_may_learn_nothing_from_targets() -> None:
    """Where a method's own term takes the place of the loss."""
    batch = Batch((segment(4),)).plus(segment(2, 1, teacher=torch.zeros(2, C)), weight=0.0).scaled(0.0)
    f = (batch.x @ W).requires_grad_()
    for nothing in (batch.loss(TASK, f), batch.weighted(f.sum(1))):
        assert nothing.shape == ()
        assert float(nothing) == 0
    tagged = {"tag": f}
    assert float(batch.loss(Tagged(), tagged)) == 0


# --- what methods make of it --------------------------------------------------------------------------------------------
def test_each_counts_alike_unless_it_has_a_weight_of_its_own() -> None:
    batch = Batch((segment(6),)).plus(segment(3, 1))
    assert [s.weight for s in batch.segments] == pytest.approx([6 / 9, 3 / 9])
    batch = batch.plus(segment(2, 2), weight=0.5)
    assert [s.weight for s in batch.segments] == pytest.approx([6 / 9, 3 / 9, 0.5])
    assert batch.share == pytest.approx(1.0)  # of those that are alike
    batch = batch.plus(segment(1, 3))
    assert [s.weight for s in batch.segments] == pytest.approx([0.6, 0.3, 0.5, 0.1])
    batch = batch.scaled(0.5)
    assert [s.weight for s in batch.segments] == pytest.approx([0.3, 0.15, 0.5, 0.05])
    assert [s.alike for s in batch.segments] == [True, True, False, True]
    assert batch.new.x.shape == (6, D)


STEPS: list[Callable[[Batch], Batch]] = [
    lambda b: b.scaled(0.25),
    lambda b: b.plus(segment(3, 1)),
    lambda b: b.plus(segment(5, 2, teacher=torch.zeros(5, C, dtype=torch.float64)), weight=0.0),
    lambda b: b.plus(segment(2, 3), weight=0.5),
    lambda b: b.plus(segment(4, 4)),
]


def test_weights_do_not_depend_on_the_order_in_which_methods_act() -> None:
    found = []
    for order in permutations(STEPS):
        batch = Batch((segment(6),))
        for step in order:
            batch = step(batch)
        assert batch.new.x is not None
        assert torch.equal(batch.new.x, segment(6).x)  # the new ones are first
        found.append((loss(batch), weight_of_each(batch)))
    value, each = found[0]
    for other, rows in found[1:]:
        assert other == pytest.approx(value)
        assert rows == [pytest.approx(row) for row in each]
    by_number = {n: sum(1 for *_, w in each if w == pytest.approx(n)) for n in (0.25 / 13, 0.0, 0.25)}
    assert by_number == {0.25 / 13: 13, 0.0: 5, 0.25: 2}


def test_inputs_and_outputs_are_those_of_each_segment_in_order() -> None:
    parts = [segment(3, 0), segment(2, 1), segment(1, 2)]
    batch = Batch((parts[0],)).plus(parts[1]).plus(parts[2], weight=0.1)
    assert torch.equal(batch.x, torch.cat([s.x for s in parts]))
    assert torch.equal(batch.y, torch.cat([s.y for s in parts]))
    assert (batch.sizes, batch.rows) == ([3, 2, 1], 6)
    f = batch.x @ W
    for (s, own), part in zip(batch.parts(f), parts):
        assert torch.equal(s.x, part.x)
        assert torch.equal(own, part.x @ W)
    told = Batch((parts[0],)).plus(parts[1]._replace(y=Labels(parts[1].y, torch.ones(2, C, dtype=torch.bool))))
    assert torch.equal(told.y, torch.cat([parts[0].y, parts[1].y]))


def test_other_inputs_leave_the_rest() -> None:
    """As augmentation gives them; what joins within the network has none."""
    batch = Batch((segment(3),)).plus(segment(2, 1), weight=0.5).plus(segment(2, 2)._replace(x=None))
    x = torch.arange(5.0 * D).view(5, D)
    changed = batch.with_inputs(x)
    assert torch.equal(changed.x, x)
    assert [s.x is None for s in changed.segments] == [False, False, True]
    assert [s._replace(x=None) for s in changed.segments] == [s._replace(x=None) for s in batch.segments]
    assert batch.sizes == [3, 2, 2]
    assert len(batch.x) == 5


def test_what_joins_within_the_network_stands_last() -> None:
    batch = Batch((segment(4),)).plus(segment(2, 1)._replace(x=None))
    f = torch.randn(6, C, dtype=torch.float64)
    assert [len(own) for _, own in batch.parts(f)] == [4, 2]
    assert float(batch.loss(TASK, f)) == pytest.approx(float(TASK.loss(f, batch.y)))
    with pytest.raises(MethodError, match="joins behind the batch: put it behind the others in the chain"):
        batch.plus(segment(1))


def test_what_cannot_stand_side_by_side() -> None:
    batch = Batch((segment(4),)).plus(segment(2, 1, teacher=torch.zeros(2, C)), weight=0.0)
    with pytest.raises(MethodError, match="two methods of this chain hold examples to earlier answers"):
        batch.plus(segment(2, 1, teacher=torch.zeros(2, C)), weight=0.0)
    with pytest.raises(DataError, match=r"inputs of \[4\] beside stored ones of \[3\]: pad all to one shape"):
        batch.plus(Segment(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)))
    with pytest.raises(DataError, match=r"parts hold \[2, 3\] examples"):
        Batch((Segment(torch.zeros(2, D), (torch.zeros(2), torch.zeros(3))),)).loss(TASK, torch.zeros(2, C))


# --- inputs and targets that are trees ----------------------------------------------------------------------------------
class Text(NamedTuple):
    ids: Tensor
    mask: Tensor


def text(n: int, seed: int) -> Segment:
    g = torch.Generator().manual_seed(seed)
    x = Text(torch.randint(9, (n, 3), generator=g), torch.randint(2, (n, 3), generator=g).bool())
    return Segment(x, {"tag": torch.randint(3, (n,), generator=g), "words": [f"{seed}/{i}" for i in range(n)]})


class Tagged(Objective):
    """Targets of several parts."""

    measure: ClassVar[Measure] = Measure("accuracy")

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Any]) -> Tensor:
        each = F.cross_entropy(outputs["tag"], targets["tag"], reduction="none")
        return each * torch.tensor([float(len(w)) for w in targets["words"]], dtype=torch.float64)


def test_a_batch_of_trees() -> None:
    batch = Batch((text(3, 1),)).plus(text(2, 22)).plus(text(4, 333), weight=0.4)
    assert batch.x.ids.shape == (9, 3)
    assert batch.x.mask.dtype == torch.bool
    assert batch.y["words"] == ["1/0", "1/1", "1/2", "22/0", "22/1", *(f"333/{i}" for i in range(4))]
    f = {"tag": torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    losses = Tagged().losses(f, batch.y)
    expected = losses[:5].mean() + 0.4 * losses[5:].mean()
    torch.testing.assert_close(batch.loss(Tagged(), f), expected)
    for s, own in batch.parts(f):
        assert len(own["tag"]) == s.rows
    parts = [Batch((text(2, 1),)).plus(text(4, 2)).part(Ranks(r, 2)) for r in range(2)]
    assert [p.y["words"] for p in parts] == [["1/0", "2/0", "2/2"], ["1/1", "2/1", "2/3"]]


def test_a_segments_examples_go_together() -> None:
    whole = segment(5, teacher=torch.randn(5, C), held=torch.rand(5, C) < 0.5, weight=0.3, alike=False)
    part = whole.take(torch.tensor([4, 1]))
    for of in ("x", "y", "teacher", "held"):
        assert torch.equal(getattr(part, of), getattr(whole, of)[[4, 1]])
    assert (part.weight, part.alike) == (0.3, False)
    assert whole._replace(x=None, teacher=None, held=None).take(slice(0, 2)).x is None
    both = together([segment(2, 1), segment(3, 2)])
    assert torch.equal(both.x, torch.cat([segment(2, 1).x, segment(3, 2).x]))
    assert torch.equal(both.y, torch.cat([segment(2, 1).y, segment(3, 2).y]))


# --- several processes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("N", [2, 3])
def test_the_mean_over_ranks_is_the_whole(N: int, kind: str) -> None:
    batch = Batch((segment(2 * N),)).plus(KINDS[kind](3 * N, 1)).scaled(0.4).plus(KINDS[kind](N, 2), weight=0.6)
    parts = [batch.part(Ranks(rank, N)) for rank in range(N)]
    assert sum(map(loss, parts)) / N == pytest.approx(loss(batch))
    gradients = []
    for b in (batch, *parts):
        w = W.clone().requires_grad_()
        [g] = torch.autograd.grad(b.loss(TASK, b.x @ w), w)
        gradients.append(g)
    torch.testing.assert_close(torch.stack(gradients[1:]).mean(0), gradients[0])
    for rank, part in enumerate(parts):
        assert torch.equal(part.new.x, batch.new.x[2 * rank : 2 * rank + 2])  # what this rank brought
        assert torch.equal(part.segments[1].x, batch.segments[1].x[rank::N])
    whole = sorted(torch.cat([p.x for p in parts])[:, 0].tolist())
    assert whole == sorted(batch.x[:, 0].tolist())


def test_what_cannot_be_shared_out_evenly_is_learnt_whole_by_all() -> None:
    two, held = Ranks(1, 2), torch.ones(4, C, dtype=torch.bool)
    even = Batch((segment(4),)).plus(segment(4, 1, teacher=torch.zeros(4, C), held=held), weight=0.0)
    assert even.part(two) is not even
    assert even.part(Ranks()) is even
    held = held.clone()
    held[1, 0] = False  # the second rank would hold fewer outputs than the first
    odd = [
        Batch((segment(3),)),
        Batch((segment(4),)).plus(segment(3, 1)),
        even.mapped(lambda s: s if s.held is None else s._replace(held=held)),
    ]
    for batch in odd:
        assert batch.part(two) is batch
    assert segment(3).part(two).rows == 3
    assert torch.equal(segment(4).part(two).x, segment(4).x[1::2])
