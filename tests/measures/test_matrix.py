"""Every measure against a matrix worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lifelong.measures.matrix import RMatrix, interval, paired

nan = math.nan
# after:      untrained         1                2                3
R = RMatrix(np.array([[0.1, 0.2, 0.3], [0.9, 0.4, 0.3], [0.6, 0.8, 0.5], [0.7, 0.6, 0.95]]))


def test_by_hand() -> None:
    assert R.T == 3
    assert R.acc == pytest.approx((0.7 + 0.6 + 0.95) / 3)
    assert R.bwt == pytest.approx(((0.7 - 0.9) + (0.6 - 0.8)) / 2)
    assert R.fwt == pytest.approx(((0.4 - 0.2) + (0.5 - 0.3)) / 2)
    assert R.forgetting == pytest.approx(((0.9 - 0.7) + (0.8 - 0.6)) / 2)
    assert R.learning_accuracy == pytest.approx((0.9 + 0.8 + 0.95) / 3)
    assert R.worst_case == pytest.approx((0.95 + min(0.6, 0.7) + 0.6) / 3)
    joint = RMatrix(np.array([[0.1] * 3, [0.95, 0, 0], [0, 0.9, 0], [0, 0, 0.9]]))
    assert R.intransigence(joint) == pytest.approx(((0.95 - 0.9) + (0.9 - 0.8) + (0.9 - 0.95)) / 3)
    assert R.summary()["intransigence"] != R.summary()["intransigence"]


def test_forgetting_is_against_the_best_and_bwt_against_the_diagonal() -> None:
    later = RMatrix(np.array([[0, 0, 0], [0.5, 0, 0], [0.8, 0.6, 0], [0.6, 0.6, 0.9]], dtype=float))
    assert later.bwt == pytest.approx((0.6 - 0.5 + 0) / 2)
    assert later.forgetting == pytest.approx((0.8 - 0.6 + 0) / 2)


def test_rows_before_a_task_was_learnt() -> None:
    """RWalk's maximum is over all rows, before learning too; the worst case only over rows after."""
    dip = RMatrix(np.array([[0, 0, 0], [0.5, 0.9, 0], [0.7, 0.6, 0], [0.6, 0.5, 0.9]], dtype=float))
    assert dip.forgetting == pytest.approx(((0.7 - 0.6) + (0.9 - 0.5)) / 2)
    assert dip.worst_case == pytest.approx((0.9 + 0.6 + 0.5) / 3)


def test_undefined_is_nan() -> None:
    one = RMatrix(np.array([[0.1], [0.9]]))
    assert one.acc == 0.9
    assert all(math.isnan(v) for v in (one.bwt, one.fwt, one.forgetting))
    unseen = RMatrix(
        np.array([[nan, nan], [0.9, 0.0], [0.4, 0.8]])
    )  # class scenario: nothing competes before a class is seen
    assert math.isnan(unseen.fwt)
    assert unseen.bwt == pytest.approx(-0.5)
    once = RMatrix(np.array([[0.1, 0.1], [nan, nan], [0.8, 0.9]]))
    assert once.acc == pytest.approx(0.85)
    assert math.isnan(once.bwt)


def test_shape() -> None:
    with pytest.raises(ValueError, match=r"\[T\+1, T\]"):
        RMatrix(np.zeros((3, 3)))


def test_intervals() -> None:
    """n = 4: mean 2.5, sd √(5/3), Student's t 3.1824."""
    found = interval([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert found.sd == pytest.approx(math.sqrt(5 / 3))
    assert found.half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)
    assert found.n == 4
    assert math.isnan(interval([1.0]).half)
    assert math.isnan(interval([1.0, nan]).mean)


def test_paired() -> None:
    """Seeds that move together leave a sharp difference."""
    difference = paired([0.5, 0.7, 0.9], [0.4, 0.6, 0.8])
    assert difference.mean == pytest.approx(0.1)
    assert difference.half == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="same seeds"):
        paired([1.0], [1.0, 2.0])
