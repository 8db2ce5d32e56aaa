"""Orders, affinities and taxonomies on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from lifelong.cli import main
from lifelong.core.errors import MethodError
from lifelong.runs.spec import RunSpec

STREAM = [
    *("--stream", "rotated", "--stream.source", "digits", "--stream.tasks", "3", "--stream.examples", "120"),
    *("--stream.test_examples", "60", "--net.hidden", "16", "--epochs", "1", "--threads", "1"),
]


def costs(folder: Path) -> dict[str, float]:
    """What a run's files say that it passed forward: by task, and in total."""
    with open(folder / "results.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["metric"] == "examples_forward"]
    return {r["after"]: float(r["value"]) for r in rows}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfers that a run measures are kept in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("rule", ["random", "hard-first", "easy-first", "learned"])
def test_a_run_in_an_order_that_a_rule_found(rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["run", *STREAM, "--order", rule, "--method", "finetune,l2", "--out", str(out)]) == 0
    found = json.loads((out / "order.json").read_text())
    names = json.loads((out / "summary.json").read_text())["tasks"]
    assert found["rule"] == rule
    assert found["order"] == names
    assert sorted(names) == ["r1", "r2", "r3"]
    # what it took stands before the first task, and in the totals of every method
    spent = found["costs"]["forward"]
    assert (spent > 0) == (rule != "random")
    assert costs(out).get("0", 0) == spent
    summary = json.loads((out / "summary.json").read_text())["methods"]
    for method in ("finetune", "l2"):
        assert summary[method]["examples_forward"]["mean"] == spent + 3 * 120
        assert summary[method]["train_seconds"]["mean"] > found["costs"]["train_seconds"]
    said = capsys.readouterr()
    assert f"order {rule}: {', '.join(names)}" in said.err
    # the order is settled: a configuration that says the same run again, without asking anew
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert [f"r{i + 1}" for i in config["order"]] == names
    again = tmp_path / "again"
    assert main(["run", "--config", str(out / "config.yaml"), "--out", str(again)]) == 0
    assert not (again / "order.json").exists()
    first, second = (json.loads((d / "summary.json").read_text())["methods"]["l2"]["acc"] for d in (out, again))
    assert first == second
    assert main(["resume", str(out)]) == 0
    assert "finished" in capsys.readouterr().err


def test_a_run_in_the_order_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "order.txt"
    path.write_text("r3\nr1\nr2\n")
    assert main(["run", *STREAM, "--order", str(path), "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["tasks"] == ["r3", "r1", "r2"]
    path.write_text("r3\nr1\n")
    assert main(["run", *STREAM, "--order", str(path), "--out", str(tmp_path / "other")]) == 2
    assert main(["run", *STREAM, "--order", "lerned", "--out", str(tmp_path / "other")]) == 2
    assert "learned" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["run", *STREAM, "--order", "learned", "--out", str(tmp_path / "run")]) == 1  # refused before any probe
    assert "there already" in capsys.readouterr().err
    with pytest.raises(MethodError, match="not settled"):
        RunSpec.from_keys({"order": "learned"}).build_stream(0)
    assert RunSpec.from_keys({"order": "1,0"}).build_stream(0)[0].name == "clean"


def test_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    asked = ["order", *STREAM, "--method", "l2", "--l2.strength", "0.1", "--out", str(out)]
    assert main([*asked, "--orders", "2"]) == 0
    assert main([*asked, "--orders", "100", "--seeds", "2"]) == 0
    said = capsys.readouterr()
    assert "6 orders (all there are) × 2 seed(s) = 12 runs" in said.err
    assert "2 of 12 were there already" in said.err
    found = json.loads((out / "orders.json").read_text())
    assert len(found["orders"]) == 6
    assert all(o["acc"]["n"] == 2 for o in found["orders"])
    best = max(found["orders"], key=lambda o: o["acc"]["mean"])
    assert f"to {best['acc']['mean']:.3f} ({', '.join(best['order'])})" in said.out
    page = (out / "order.html").read_text()
    assert "wants to come" in page
    assert '<th scope="col">task</th>' in page
    assert (out / "order.png").read_bytes().startswith(b"\x89PNG")
    assert main([*asked, "--lr", "0.5"]) == 1
    assert "another training" in capsys.readouterr().err
    assert main(["order", *STREAM, "--method", "l2,ewc", "--out", str(tmp_path / "two")]) == 2
    assert main(["order", *STREAM, "--orders", "0", "--out", str(tmp_path / "none")]) == 2


MINE = """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from lifelong import Method


@dataclass(frozen=True)
class Pull(Method):
    name: ClassVar[str] = "pull"
    strength: float = 1.0


def make(shape, outputs, width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))
"""


def test_an_order_of_code_of_ones_own_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each process loads it by its name: what it makes could not be handed over."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    stream = [word for word in STREAM if word not in ("--net.hidden", "16")]
    asked = ["order", *stream, "--method", "./mine.py:Pull", "--net", "./mine.py:make", "--out", "study"]
    assert main([*asked, "--orders", "2", "--jobs", "2"]) == 0
    assert main([*asked, "--orders", "2"]) == 0
    assert "2 of 2 were there already" in capsys.readouterr().err
    Path("mine.py").write_text(MINE.replace("width=8", "width=9"))
    assert main([*asked, "--orders", "2"]) == 0  # the same in words, but another network
    assert "were there already" not in capsys.readouterr().err


def test_affinity_and_taxonomy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "transfers"
    assert main(["affinity", *STREAM, "--few", "40", "--pairs", "2", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "9 transfers of first order, 3 pairs" in said.err
    table = json.loads((out / "affinities.json").read_text())
    assert len(table["all_affinities"]) == 3 * (3 + 1 + 1)
    for target in ("r1", "r2", "r3"):
        values = [v for k, v in table["all_affinities"].items() if k.endswith(f"__{target}")]
        assert sum(values) == pytest.approx(1)
    assert "Recommended order" in said.out
    assert "quality" in (out / "affinity.html").read_text()

    assert main(["taxonomy", str(out), "--budget", "1-3"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["1", "2", "3"]
    objectives = [float(line.split()[1]) for line in text.splitlines()[1:4]]
    assert objectives == sorted(objectives)
    assert (out / "taxonomy.png").exists()
    found = json.loads((out / "order.json").read_text())
    assert found["costs"]["forward"] > 0
    run = tmp_path / "run"
    assert main(["run", *STREAM, "--order", str(out / "order.json"), "--out", str(run)]) == 0
    assert costs(run)["0"] == found["costs"]["forward"]  # the file says what it took
    assert json.loads((run / "summary.json").read_text())["tasks"] == found["order"]

    for budget, match in (("0", "too small"), ("x", "expected a number"), ("-1", "expected a number")):
        assert main(["taxonomy", str(out), f"--budget={budget}"]) != 0
        assert match in capsys.readouterr().err
    assert main(["taxonomy", str(tmp_path), "--budget", "1"]) == 1
    assert "lifelong affinity" in capsys.readouterr().err
    assert main(["taxonomy", str(out / "affinities.json"), "--budget", "2", "--sources", "1", "--goal", "fwt"]) == 0


def test_transfers_that_are_there_are_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that was stopped goes on, one of the same is read, one of something else is made; what it took counts each time."""
    from lifelong.curriculum import affinity

    real, calls = affinity._target, 0

    def stopping(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(affinity, "_target", stopping)
    asked = ["run", *STREAM, "--order", "learned", "--out"]
    assert main([*asked, str(tmp_path / "a")]) == 130
    assert not (tmp_path / "a").exists()
    assert main([*asked, str(tmp_path / "a")]) == 0
    assert "target: 1 of 3 were there already" in capsys.readouterr().err
    assert main([*asked, str(tmp_path / "b"), "--method", "l2"]) == 0
    assert "target: 3 of 3 were there already" in capsys.readouterr().err
    assert costs(tmp_path / "a")["0"] == costs(tmp_path / "b")["0"] > 0
    assert main([*asked, str(tmp_path / "c"), "--lr", "0.01"]) == 0
    assert "there already" not in capsys.readouterr().err


def test_a_study_is_not_written_into_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["run", *STREAM, "--out", str(out)]) == 0
    before = sorted(p.name for p in out.iterdir())
    for command in ("order", "affinity"):
        assert main([command, *STREAM, "--out", str(out)]) == 1
        assert "holds a run" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == before


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for command, wanted in (
        ("order", "--orders"),
        ("affinity", "--few"),
        ("run", "--order"),
        ("taxonomy", "--budget"),
        ("sweep", "--try"),
    ):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert wanted in capsys.readouterr().out
