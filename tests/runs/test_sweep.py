"""Searching for constants: on which data, and what is said of it."""

from __future__ import annotations

import json
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.cli import main
from lifelong.core.errors import MethodError
from lifelong.core.examples import Chunk, Examples
from lifelong.runs.executor import Local
from lifelong.runs.search import Protocol, Search, search
from lifelong.runs.search_space import Try
from lifelong.runs.spec import RunSpec
from toys import toy_stream

RUN = [
    *("--stream", "split", "--stream.source", "digits", "--stream.tasks", "2", "--net.hidden", "16"),
    *("--scenario", "task", "--epochs", "1", "--batch_size", "32", "--threads", "1"),
]
KEYS = {"stream": "split", "stream.source": "digits", "stream.tasks": 2, "net.hidden": (16,), "scenario": "task"}
KEYS |= {"epochs": 1, "batch_size": 32, "threads": 1, "method": "ewc,replay"}


class Forbidden(Examples):
    """Examples that nobody may read."""

    def __init__(self, like: Examples) -> None:
        self.like = like

    def __len__(self) -> int:
        return len(self.like)

    def chunks(self, order: Tensor, rows: int) -> Iterator[Chunk]:
        raise AssertionError("these were not to be read")

    def subset(self, index: Tensor) -> Examples:
        return Forbidden(self.like.subset(index))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.like.shape

    @property
    def labels(self) -> Tensor:
        return self.like.labels


# strengths that are far too large for their learning rate end in a network that answers with certainty, and EWC says so
DESTROYED = pytest.mark.filterwarnings(
    "ignore:ewc. the importance of every weight is 0:lifelong.core.errors.LifelongWarning"
)


def tried(folder: Path, protocol: Protocol, trials: int = 6, jobs: int = 1, **more: Any) -> Search:
    config = RunSpec.from_keys({**KEYS, **more})
    tries = [Try.read(t, config) for t in ("ewc.strength=1e-2:1e4:log", "replay.buffer_size=5:200", "lr=0.01,0.1")]
    return search(config, tries, protocol, folder, trials=trials, seeds=(7,), jobs=jobs)


@DESTROYED
def test_a_search_is_the_same_in_pieces_and_in_processes(tmp_path: Path) -> None:
    whole = tried(tmp_path / "a", Protocol())
    tried(tmp_path / "b", Protocol(), trials=4)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "b" / "trials").iterdir()}
    assert tried(tmp_path / "b", Protocol()) == whole
    assert all(p.stat().st_mtime_ns == at for p, at in made.items())  # what was there was not made again
    next(iter(made)).unlink()
    assert tried(tmp_path / "b", Protocol(), jobs=2) == whole
    assert {len(whole.of(m)) for m in ("ewc", "replay")} == {6}
    assert all(set(t.values) == {"ewc.strength", "lr"} for t in whole.of("ewc"))
    assert all(1e-2 <= t.values["ewc.strength"] <= 1e4 and t.values["lr"] in (0.01, 0.1) for t in whole.of("ewc"))
    assert all(isinstance(t.values["replay.buffer_size"], int) for t in whole.of("replay"))
    assert whole.best("ewc").score == max(t.score for t in whole.of("ewc"))
    assert not [p for p in (tmp_path / "a" / "trials").iterdir() if p.is_dir()]  # checkpoints of what is done


@pytest.mark.parametrize(
    ("protocol", "read"), [(Protocol("first"), (0,)), (Protocol("held-out"), (0, 1, 2)), (Protocol("oracle"), None)]
)
def test_which_data_decide(
    protocol: Protocol, read: tuple[int, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every set but those that the protocol names is closed to the search."""
    stream = toy_stream("task")
    if read is not None:
        tasks = [
            replace(t, test=Forbidden(t.test), train=t.train if t.index in read else Forbidden(t.train)) for t in stream
        ]
        stream = replace(stream, tasks=tuple(tasks))
    monkeypatch.setattr(RunSpec, "build_stream", lambda self, seed: stream)
    config = RunSpec.from_keys(
        {"net.hidden": (8,), "epochs": 2, "optimizer": "sgd", "lr": 0.1, "batch_size": 16, "halve_every": None}
    )
    found = search(config, [Try("lr", (0.01, 0.1))], protocol, tmp_path, seeds=(7,))
    assert [t.values["lr"] for t in found.trials] == [0.01, 0.1]  # a grid is gone through
    assert found.best("finetune").values["lr"] == 0.1
    if read is None:  # what the oracle scores is the test accuracy itself
        from lifelong import MLP, Finetune, Training, fit

        training = Training(lr=0.1, epochs=2, batch_size=16)
        acc = fit(Finetune(), MLP((8,)), stream, seeds=[7], training=training).matrix().acc
        assert found.best("finetune").score == acc


def test_what_breaks_down_and_what_is_too_dear(tmp_path: Path) -> None:
    config = RunSpec.from_keys({**KEYS, "method": "replay", "budget_memory": "20kB"})
    tries = [Try("lr", (0.1, 1e30)), Try("replay.buffer_size", (20, 5000))]
    found = search(config, tries, Protocol(), tmp_path, seeds=(7,))
    by = {(t.values["lr"], t.values["replay.buffer_size"]): t for t in found.trials}
    assert by[0.1, 20].score > 0.5
    assert by[1e30, 20].score == 0.0
    assert "would keep" in by[0.1, 5000].note
    assert by[0.1, 5000].score != by[0.1, 5000].score
    assert found.best("replay") == by[0.1, 20]


@DESTROYED
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    asked = ["sweep", *RUN, "--method", "ewc", "--try", "strength=1e-1:1e4:log", "--trials", "3", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert said.err.count("ewc 1: ewc.strength") == 1
    tree = json.loads((out / "sweep.json").read_text())
    assert (tree["protocol"], tree["peeks"], len(tree["trials"])) == ("held-out", False, 3)
    best = tree["best"]["ewc"]
    assert best["score"] == max(t["score"] for t in tree["trials"])
    assert "peeking" not in said.out + (out / "sweep.html").read_text()
    # the command that it prints says that very run
    assert best["command"] in said.out
    assert main([*shlex.split(best["command"])[1:], "--out", str(tmp_path / "again")]) == 0
    again, first = (
        json.loads((d / "summary.json").read_text())["methods"]["ewc"]["acc"]
        for d in (tmp_path / "again", out / best["run"])
    )
    assert again == first
    capsys.readouterr()
    assert main(asked) == 0  # nothing is made again
    assert main(["resume", str(out)]) == 1
    assert "lifelong sweep" in capsys.readouterr().err
    assert main(["sweep", *RUN, "--try", "lr=0.1", "--out", str(out / best["run"])]) == 1
    assert "holds no sweep" in capsys.readouterr().err


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


def test_a_sweep_of_code_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    run = [word for word in RUN if word not in ("--net.hidden", "16")]
    own = ["--method", "./mine.py:Pull", "--net", "./mine.py:make"]
    asked = ["sweep", *run, *own, "--try", "strength=1,2", "--try", "net.width=4,8", "--out", "sweep"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    made = {p: p.stat().st_mtime_ns for p in Path("sweep/trials").iterdir()}
    assert len(made) == 4
    assert main(asked) == 0
    assert capsys.readouterr().out == said
    assert all(p.stat().st_mtime_ns == at for p, at in made.items())
    tree = json.loads(Path("sweep/sweep.json").read_text())
    again = [*shlex.split(tree["best"]["pull"]["command"])[1:], "--out", "again"]
    assert again[:7] == ["run", "--stream", "split", *own]
    assert main(again) == 0


def test_an_oracle_is_labelled_wherever_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    sweep = ["sweep", *RUN, "--method", "ewc", "--try", "strength=1,100", "--protocol", "oracle", "--out", str(out)]
    assert main(sweep) == 0
    said = capsys.readouterr().out
    assert "THE TEST DATA (peeking)" in said
    tree = json.loads((out / "sweep.json").read_text())
    assert tree["peeks"] is True
    assert "ewc (peeking)" in (out / "sweep.html").read_text()
    run = out / tree["best"]["ewc"]["run"]
    assert "ewc (peeking)" in (run / "report.html").read_text()
    # whoever says the command that was printed gets a run with the label, and so does whoever compares it
    assert main([*shlex.split(tree["best"]["ewc"]["command"])[1:], "--out", str(tmp_path / "run")]) == 0
    assert "ewc (peeking)" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "run"), "--out", str(tmp_path / "both")]) == 0
    assert "ewc (peeking)" in capsys.readouterr().out
    assert "ewc (peeking)" in (tmp_path / "both" / "compare.csv").read_text()
    assert "ewc (peeking)" in (tmp_path / "both" / "compare.html").read_text()


def test_two_phases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    asked = [
        "sweep",
        *RUN,
        "--method",
        "l2",
        "--try",
        "l2.strength=0.01,1",
        "--protocol",
        "two-phase",
        "--out",
        str(out),
    ]
    assert main(asked) == 2
    assert "--on stream=NAME" in capsys.readouterr().err
    other = [
        "--on",
        "stream=split",
        "--on",
        "stream.source=mnist-mini",
        "--on",
        "stream.tasks=2",
        "--on",
        "stream.examples=100",
    ]
    assert main([*asked, *other]) == 0
    tree = json.loads((out / "sweep.json").read_text())
    run = RunSpec.load(out / tree["best"]["l2"]["run"] / "config.yaml")
    assert (run.stream_options["source"], run.tuned) == ("digits", "two-phase")
    there = replace(
        run, stream_options={"source": "mnist-mini", "tasks": 2, "examples": 100}, tuned=None, seeds=(1000,)
    )
    from lifelong import fit

    scores = {
        s: fit(
            replace(there, method_options={"l2": {"strength": s}}).build_method("l2"),
            there.build_net(),
            there.build_stream(1000),
            seeds=[1000],
            training=there.build_training(),
        )
        .matrix()
        .acc
        for s in (0.01, 1.0)
    }
    assert {t["values"]["l2.strength"]: t["score"] for t in tree["trials"]} == scores


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("ewc.strenght=1:2", "did you mean 'ewc.strength'"),
        ("ewc.strength=2:1", "LOW < HIGH"),
        ("ewc.strength=0:1:log", "LOW above 0"),
        ("ewc.importance=exact:sampled", "expected numbers"),
        ("ewc.strength", "LOW:HIGH"),
        ("replay.buffer_size=a,b", "expected a whole number"),
    ],
)
def test_what_cannot_be_tried(said: str, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        Try.read(said, RunSpec.from_keys(KEYS))


def test_refusals(tmp_path: Path) -> None:
    config = RunSpec.from_keys(KEYS)
    with pytest.raises(MethodError, match="nothing to try of replay"):
        search(config, [Try("ewc.strength", (1.0,))], Protocol(), tmp_path)
    with pytest.raises(MethodError, match="expected 0 or more"):  # before any trial
        search(config, [Try("ewc.strength", (-1.0, 1.0)), Try("lr", (0.1,))], Protocol(), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert torch.get_num_threads() == 1
    assert Local(1).here


@DESTROYED
def test_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "sweep.py"
    runpy.run_path(str(example), run_name="__main__")
    said = capsys.readouterr().out
    assert said.count("accuracy") == 2
    assert "replay (peeking)" in said
    assert "beyond the budget" in said
