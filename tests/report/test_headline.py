"""A report's headline against the tables below it: over many drawn results no sentence of the one denies a cell of the other."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifelong.measures.matrix import RMatrix
from lifelong.report import Results
from lifelong.report.headline import headline
from lifelong.report.page import answer
from lifelong.report.results import REFERENCES, own_name
from lifelong.report.table import UNDEFINED, differences, number, rows

NAN = float("nan")
NUMBER = r"−?\d\.\d{3}(?:±\d+\.\d{3})?"
NAMES = (
    "finetune",
    "ewc",
    "l2",
    "si",
    "joint",
    "joint_once",
    "independent",
    "a/joint",
    "b/ewc",
    "si (peeking)",
    "a/finetune",
)
LEAD = re.compile(
    rf"After \d+ tasks?, (?P<best>.+?) has (?:the highest mean accuracy of (?P<of>\d+) methods, |a mean accuracy of )(?P<acc>{NUMBER})"
)
BASE = re.compile(
    rf"; (?P<base>\S+(?: \(peeking\))?) has (?P<acc>{NUMBER}), "
    rf"(?:no seed in common|a difference of (?P<gap>{NUMBER}) on (?:one seed|the same \d+ seeds)(?P<apart>, which does not tell them apart)?)\."
)


def of(accuracy: dict[str, dict[int, float]], T: int = 3) -> Results:
    """Results that have these accuracies at the end and nothing else."""
    empty = RMatrix(np.full((T + 1, T), NAN))
    return Results(
        "x",
        "s",
        "domain",
        tuple(f"t{i}" for i in range(T)),
        {m: tuple(by) for m, by in accuracy.items()},
        {(m, s): empty for m, by in accuracy.items() for s in by},
        {(m, s, "acc"): {T: v} for m, by in accuracy.items() for s, v in by.items()},
    )


VALUES = st.one_of(st.sampled_from([0.0, 0.5, 0.5004, 0.785, 0.909, 1.0]), st.floats(0, 1), st.just(NAN))
ACCURACIES = st.dictionaries(
    st.sampled_from(NAMES), st.dictionaries(st.integers(0, 5), VALUES, min_size=1, max_size=5), min_size=1
)


@settings(deadline=None, max_examples=400)
@given(ACCURACIES)
def test_no_headline_denies_its_table(accuracy: dict[str, dict[int, float]]) -> None:
    results = of(accuracy)
    said = answer(results).replace("\u202f", "")
    table = {method: cells["acc"] for method, cells, _ in rows(results)}
    mean = {m: float(text.partition("±")[0]) for m, text in table.items() if text != UNDEFINED}
    rivals = [m for m in mean if own_name(m) not in REFERENCES]
    references = [m for m in mean if own_name(m) in REFERENCES]
    lead = LEAD.match(said)
    assert (lead is not None) == bool(rivals)
    if lead is not None:
        best = lead["best"]
        assert best in rivals  # and so no reference
        assert lead["acc"] == table[best]
        assert int(lead["of"] or 1) == len(rivals)
        assert mean[best] == max(mean[m] for m in rivals)
        held = BASE.search(said)
        assert (held is not None) == (len(rivals) > 1)
        if held is not None:
            base = held["base"]
            assert held["acc"] == table[base]
            gap = results.difference(best, base, "acc")
            if held["gap"] is not None:
                assert held["gap"].replace("−", "-") == number(gap)
                assert (held["apart"] is not None) == (gap.n > 1 and abs(gap.mean) <= gap.half)
            else:
                assert gap.n == 0
            if base == results.methods[0] and held["gap"] is not None:  # it stands in the second table as well
                paired = {m: cells["acc"] for m, cells, _ in differences(results)}
                assert paired[best].lstrip("+") == held["gap"].replace("−", "-")
        near = [m for m in rivals if m != best and _not_apart(results, best, m) and (held is None or m != held["base"])]
        found = re.search(r"([^.]*?(?:\.\d{3}\)[^.]*?)+) (?:is|are) not distinguishable from", said)
        assert (found is not None) == bool(near)
    for m in references:
        phrase = rf"{re.escape(REFERENCES[own_name(m)])} \({re.escape(m)}\), (?P<as>[^,]+), reaches (?P<acc>{NUMBER})"
        told = re.search(phrase, said, re.IGNORECASE)
        assert told is not None, (m, said)
        assert told["acc"] == table[m]
        above = any(mean[r] > mean[m] for r in rivals)
        assert (told["as"] == "a reference") == above
        assert (told["as"] in ("the upper bound", "which cannot forget")) == (not above)
    for m in accuracy:
        assert m in mean or not mean or m in said or "others have no mean accuracy" in said


def _not_apart(results: Results, a: str, b: str) -> bool:
    gap = results.difference(a, b, "acc")
    return gap.n > 1 and abs(gap.mean) <= gap.half


def test_a_reference_above_is_named_as_one() -> None:
    """The headline that was seen: fine-tuning's 0.843, and no word of joint's 0.909 in the table below."""
    said = headline(
        2,
        {
            "finetune": {0: 0.843, 1: 0.853, 2: 0.833},
            "joint": {0: 0.909, 1: 0.910, 2: 0.908},
            "l2": {0: 0.830, 1: 0.829, 2: 0.834},
            "ewc": {0: 0.840, 1: 0.841, 2: 0.832},
        },
    )
    assert "finetune has the highest mean accuracy of 3 methods, 0.843" in said
    assert "Joint training (joint), the upper bound, reaches 0.909±0.002" in said
    assert "ewc has 0.838" in said
    assert "which does not tell them apart" in said


def test_a_method_above_its_reference_is_said() -> None:
    said = headline(5, {"joint": {0: 0.66, 1: 0.67}, "slda": {0: 0.785, 1: 0.785}, "gdumb": {0: 0.80, 1: 0.78}})
    assert (
        "Joint training (joint), a reference, reaches 0.665±0.064; gdumb and slda are above it (gdumb: a difference of 0.125"
        in said
    )
    assert "upper bound" not in said


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        ({"ewc": {0: NAN}}, "No method has been measured on all 3 tasks yet."),
        ({"ewc": {0: 0.5}}, "After 3 tasks, ewc has a mean accuracy of 0.500."),
        ({"ewc": {0: 0.5}, "l2": {0: NAN}}, "ewc has a mean accuracy of 0.500. l2 has no mean accuracy."),
        (
            {"ewc": {0: 0.5}, "l2": {0: 0.4}},
            "a difference of 0.100 on one seed. With one seed, differences may be chance.",
        ),
        ({"ewc": {0: 0.5}, "l2": {1: 0.4}}, "l2 has 0.400, no seed in common."),
        (
            {"joint": {0: 0.5}},
            "After 3 tasks, no method is finished that could be held to a reference. Joint training (joint), the",
        ),
        (
            {"independent": {0: 0.5}, "ewc": {0: 0.1}},
            "A network for each task (independent), which cannot forget, reaches 0.500.",
        ),
        (
            {"a/joint": {0: 0.9}, "b/joint": {0: 0.8}, "ewc": {0: 0.5}},
            "After 3 tasks, ewc has a mean accuracy of 0.500.",
        ),
    ],
)
def test_what_is_missing_is_said(accuracy: dict[str, dict[int, float]], said: str) -> None:
    assert said in headline(3, accuracy)


def test_numbers_of_the_headline_are_finite() -> None:
    assert "nan" not in headline(1, {"ewc": {0: 0.5, 1: math.nan}, "l2": {0: 0.4, 1: 0.2}})
