"""A run directory written by hand, read back as numbers and put beside others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lifelong.core.errors import RunError
from lifelong.measures.matrix import RMatrix, interval
from lifelong.report import Results, as_text, merge, read, write
from lifelong.report.results import HEADER
from lifelong.report.table import amount
from written_results import FREE, HELD, MATRICES, NAN, Page, lay_out


def test_the_file_becomes_matrices_and_measures(run: Path) -> None:
    results = read(run)
    assert (results.name, results.stream, results.scenario, results.T) == ("first", "digits", "domain", 3)
    assert results.tasks == ("zero", "one", "two")
    assert results.methods == ("finetune", "ewc", "joint")
    assert results.seeds["ewc"] == (0, 1, 2)
    np.testing.assert_allclose(results.matrix("ewc", 1).R, HELD + 0.01)
    np.testing.assert_allclose(results.mean("ewc").R, HELD + 0.04 / 3)
    acc = (0.3 + 0.5 + 0.9) / 3
    assert results.summary("finetune", "acc") == pytest.approx([acc, acc - 0.02, acc + 0.02])
    assert results.interval("finetune", "acc") == pytest.approx(interval([acc, acc - 0.02, acc + 0.02]))
    assert results.interval("finetune", "bwt").mean == pytest.approx((0.3 - 0.9 + 0.5 - 0.8) / 2)
    assert results.summary("finetune", "intransigence")[0] == pytest.approx((0 + 0.1 + 0) / 3)
    assert results.summary("ewc", "train_seconds") == [6.0, 9.0, 12.0]  # of all tasks
    assert results.summary("ewc", "memory_bytes") == [4500.0] * 3  # at the end
    assert np.isnan(results.summary("ewc", "eval_seconds")).all()


def test_a_stored_measure_is_taken_as_it_stands(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run", {"ewc": {0: HELD}})
    with (run / "results.csv").open("a") as file:
        file.write("digits,domain,ewc,0,3,,acc,0.25,,\n")
    assert read(run).summary("ewc", "acc") == [0.25]


def test_differences_are_paired_on_common_seeds(tmp_path: Path) -> None:
    shifted = {seed: R + seed / 50 for seed, R in MATRICES["finetune"].items() if seed}  # not seed 0
    results = read(lay_out(tmp_path / "run", {**MATRICES, "si": shifted}))
    assert results.difference("si", "finetune", "acc") == pytest.approx(interval([1 / 50, 2 / 50]))
    lone = read(lay_out(tmp_path / "lone", {"finetune": {0: FREE}, "si": {7: FREE}}))
    assert lone.difference("si", "finetune", "acc").n == 0


def test_what_is_undefined_stays_so(tmp_path: Path) -> None:
    R = FREE.copy()
    R[0, 1] = NAN
    run = lay_out(tmp_path / "run", {"ewc": {0: R}}, tasks=("a", "b", "c"))
    results = read(run)
    assert np.isnan(results.summary("ewc", "fwt")).all()
    assert not np.isnan(results.summary("ewc", "acc")).any()
    row = as_text(results).splitlines()[3]
    assert row.split() == ["ewc", "0.567", "-0.450", "undefined", "+0.450", "undefined", "0.867", "0.567", "1"]
    assert '<td class="undefined">undefined</td>' in write(run).read_text()


def test_an_unfinished_seed_is_left_out_and_said(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run")
    lines = (run / "results.csv").read_text().splitlines()
    (run / "results.csv").write_text("\n".join(x for x in lines if not re.match(r"digits,domain,ewc,2,3,", x)))
    results = read(run)
    assert results.seeds["ewc"] == (0, 1)
    assert results.unfinished == (("ewc", 2),)
    assert results.interval("ewc", "acc").n == 2
    assert "unfinished: ewc (seed 2)" in Page(write(run)).text


def test_the_terminal_table_is_aligned(run: Path) -> None:
    text = as_text(read(run), paired=True)
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert [len(block) for block in blocks] == [2, 4, 1, 3]
    for block in blocks[1::2]:
        assert len({len(line) for line in block}) == 1
    assert "0.567±0.050" in blocks[1][1]
    assert blocks[0][1] == "(initial weights, order of examples and draws; the stream is the same)"


@pytest.mark.parametrize(
    ("value", "metric", "said"),
    [
        (0.0123, "train_seconds", "12.3 ms"),
        (59.9, "train_seconds", "59.9 s"),
        (5400, "train_seconds", "1.5 h"),
        (0, "memory_bytes", "0 B"),
        (2_345_678, "memory_bytes", "2.35 MB"),
        (123_456, "parameters", "123 k"),
        (NAN, "parameters", "undefined"),
    ],
)
def test_costs_have_readable_units(value: float, metric: str, said: str) -> None:
    assert amount(value, metric) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("stream,", "flow,", "expected the header"),
        ("digits,domain,ewc,0,1,1,accuracy,0.9", "digits,domain,ewc,0,1,1,accuracy,90", "0..1 or nan, got 90"),
        ("digits,domain,ewc,0,1,1,accuracy,0.9", "digits,domain,ewc,0,1,1,accuracy,much", "expected numbers"),
        ("digits,domain,ewc,0,1,1,accuracy", "other,domain,ewc,0,1,1,accuracy", "got 'other'"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,1,2,accuracy", "stands twice"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,1,1", "10 fields, got 9"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,9,1,accuracy", "holds 9 tasks"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = lay_out(tmp_path / "run") / "results.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match=re.escape(said)) as caught:
        read(path.parent)
    assert "results.csv" in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="is not there"):
        read(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no run directory"):
        write(tmp_path)
    (tmp_path / "results.csv").write_text(HEADER + "\n")
    with pytest.raises(RunError, match="no rows"):
        read(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(RunError, match="an empty file"):
        read(tmp_path)
    with pytest.raises(RunError, match="did you mean 'ewc'"):
        read(run).mean("ewcc")
    with pytest.raises(RunError, match="not run with seed 9"):
        read(run).matrix("ewc", 9)


def test_directories_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = (lay_out(tmp_path / where / "run", {"ewc": {0: HELD}}) for where in ("a", "b"))
    assert merge([read(a), read(b)]).methods == ("run#1/ewc", "run#2/ewc")


def test_results_can_be_made_by_hand() -> None:
    results = Results("x", "s", "task", ("a",), {"m": (0,)}, {("m", 0): RMatrix(np.array([[0.5], [1.0]]))}, {})
    assert results.T == 1
    assert results.summary("m", "acc") == [1.0]
