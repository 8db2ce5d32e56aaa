"""Choosing a constant on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import pytest
from torch import nn

from lifelong import EWC, L2, MLP, Method, Training, choose, choose_each, fit
from lifelong.core.errors import DataError
from toys import toy_net, toy_stream

TRAINING = Training(lr=0.05, batch_size=16, epochs=2)
GRID = (0.0, 0.01, 10.0)


def net(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return toy_net(outputs)


def test_it_scores_held_out_training_examples_and_takes_the_best() -> None:
    stream = toy_stream("domain")
    found = choose(L2, GRID, net, stream, TRAINING, seeds=[5, 6], fraction=0.25)
    for value, score in zip(GRID, found.scores):
        each = [
            fit(L2(value), net, stream.hold_out(0.25, s), seeds=[s], training=TRAINING).matrix().acc for s in (5, 6)
        ]
        assert score == pytest.approx(sum(each) / 2)
    assert found.value == GRID[max(range(3), key=lambda i: found.scores[i])]
    assert found.seeds == (5, 6)
    assert f"{found.value:g} (" in str(found)


def test_what_breaks_down_scores_nothing() -> None:
    found = choose(L2, (1e30, 0.01), net, toy_stream("domain"), TRAINING)
    assert found.scores[0] == 0.0
    assert found.value == 0.01


@pytest.mark.slow
def test_several_at_once_and_in_several_processes() -> None:
    stream = toy_stream("domain")
    makers: dict[str, Callable[[float], Method]] = {"l2": L2, "ewc": partial(EWC, implicit=True)}
    net = MLP((16,))  # what other processes can be sent
    alone = {n: choose(make, GRID, net, stream, TRAINING) for n, make in makers.items()}
    both: dict[str, tuple[Callable[[float], Method], Sequence[float]]] = {n: (m, GRID) for n, m in makers.items()}
    assert choose_each(both, net, stream, TRAINING) == alone
    assert choose_each(both, net, stream, TRAINING, jobs=2) == alone


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_fraction_that_leaves_nothing(fraction: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        choose(L2, GRID, net, toy_stream("domain"), TRAINING, fraction=fraction)


def test_a_grid_goes_on_beyond_its_best_end() -> None:
    """A score that rises with the value: each extension adds one value at that end, in the grid's ratio, and scores it."""
    net, stream = MLP((8,)), toy_stream("domain")
    short = choose(L2, (1e-4, 1e-3), net, stream, TRAINING, seeds=[5])
    longer = choose(L2, (1e-4, 1e-3), net, stream, TRAINING, seeds=[5], extend=2)
    assert longer.grid[:2] == short.grid
    assert longer.scores[:2] == short.scores
    grid = sorted(longer.grid)
    assert [b / a for a, b in pairwise(grid)] == pytest.approx([10.0] * (len(grid) - 1))
    for value, score in zip(longer.grid, longer.scores):
        assert choose(L2, (value,), net, stream, TRAINING, seeds=[5]).scores == (score,)
    assert 2 < len(grid) <= 4
    assert len(grid) == 4 or grid[0] < longer.value < grid[-1]
