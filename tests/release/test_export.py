"""What is exported answers as the run did, and says what it is."""

from __future__ import annotations

import os
import runpy
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.cli import main
from lifelong.core.errors import MethodError, RunError
from lifelong.release import Predictor, export, load
from lifelong.release.export import reader
from lifelong.release.export_io import TENSORS, Files
from lifelong.release.predictor import without_folders
from lifelong.release.programs import program
from lifelong.runs.fitting import follow
from lifelong.runs.jobs import execute
from lifelong.runs.load_run import LoadedRun, load_run
from lifelong.runs.run import Job
from lifelong.runs.spec import RunSpec
from lifelong.training.build import learner_for
from release_cases import CASES, SMALL

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("scenario", "method"), CASES)
def test_safetensors_answer_bit_for_bit(scenario: str, method: str, runs: dict[str, Path], tmp_path: Path) -> None:
    done = export(runs[scenario], tmp_path / "out", method=method)
    assert (done.difference, done.inputs) == (0.0, 3 * 33)
    found, predictor = load_run(runs[scenario], method), load(tmp_path / "out")
    for task in found.stream:
        x = next(task.test.all(40)).x
        told = task.index if scenario == "task" else None
        scores = predictor.scores(x, told)
        assert torch.equal(scores, found.learner.scores(x, task))
        if scenario == "task":
            assert set(scores.argmax(1).tolist()) <= set(task.classes)
    record, card = found.record, (tmp_path / "out" / "README.md").read_text()
    numbers = (f"{record.accuracy[-1][0]:.4f}", f"{record.parameters[-1]:,}", f"{record.matrix.acc:.4f}")
    for said in ("## Data", "## Costs", "## Limits", "digits", "bit for bit", *numbers):
        assert said in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("form", "scenario", "method"),
    [
        ("torch", "class", "nearest_mean"),
        ("torch", "class", "expert_gate"),
        ("torch", "class", "fearnet"),
        ("torch", "task", "finetune"),
        ("torch", "task", "hat"),
        ("onnx", "class", "icarl"),
        ("onnx", "class", "expert_gate"),
        ("onnx", "task", "progressive"),
    ],
)
def test_programs_answer_as_the_run(
    form: Any, scenario: str, method: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    done = export(runs[scenario], tmp_path / "out", form, method=method)
    assert done.difference < 1e-5
    with pytest.raises(RunError, match="say --trust if you trust"):
        reader(tmp_path / "out")
    with pytest.raises(RunError, match="holds a program"):
        load(tmp_path / "out")
    about, scores = reader(tmp_path / "out", trust=True)
    found = load_run(runs[scenario], method)
    for task in found.stream:
        x = next(task.test.all(37)).x
        truth = found.learner.scores(x, task)
        own = scores(x, task.index if scenario == "task" else None)
        torch.testing.assert_close(own, truth, rtol=1e-4, atol=1e-4)
    if about.needs_task:
        with pytest.raises(MethodError, match="needs the task"):
            scores(x, None)


def test_a_memory_network_is_a_program(tmp_path: Path) -> None:
    """Its inputs are shorter integers than ONNX can choose among."""
    stories = {
        "stream": "babi",
        "stream.tasks": "1",
        "stream.examples": 20,
        "stream.test_examples": 20,
        "stream.memory": 5,
    }
    execute(RunSpec.from_keys({**stories, "epochs": 1, "method": "finetune"}), tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "out", "onnx").difference < 1e-5


def test_a_program_of_mixed_tasks(runs: dict[str, Path]) -> None:
    """In one batch each input may be of another task."""
    found = load_run(runs["task"], "progressive")
    predictor = Predictor.of(found)
    x = torch.cat([next(t.test.all(2)).x for t in found.stream])
    task = torch.tensor([0, 0, 1, 1, 2, 2])
    truth = torch.cat([found.learner.scores(x[2 * k : 2 * k + 2], found.stream[k]) for k in range(3)])
    torch.testing.assert_close(predictor(x, task), truth)
    assert all(name.startswith(("net.", "state_")) for name in predictor.state_dict())


def test_state_lies_in_buffers(runs: dict[str, Path]) -> None:
    """An ordinary module: what `predict` reads follows `to`, and no training example is carried along where none is needed."""
    predictor = Predictor.of(load_run(runs["class"], "icarl"))
    held = {n: b.shape for n, b in predictor.named_buffers() if n.startswith("state_")}
    assert (10, 16) in held.values()  # the means
    assert not any(s[-2:] == (8, 8) for s in held.values())
    assert predictor.double().state.means.dtype == torch.float64


def test_what_is_not_learnt_does_not_compete() -> None:
    config = RunSpec.from_keys({**SMALL, "method": "finetune"})
    stream = config.build_stream(0)
    learner = learner_for(config.build_method("finetune"), config.build_net(), stream, config.build_training(), 0)
    record = follow(learner, stream.subset([0]))
    found = LoadedRun(config, Job("finetune", 0), stream, learner, record)
    predictor = Predictor.of(found)
    scores = predictor.scores(next(stream[2].test.all(9)).x)
    assert scores.isneginf().all(0).nonzero().flatten().tolist() == [c for c in range(10) if c not in stream[0].classes]
    for pause in learner.steps(stream[1]):
        assert pause
        break
    with pytest.raises(RunError, match="in the middle of task 2 of 3"):
        Predictor.of(found)


def test_what_cannot_be_a_program_says_why(runs: dict[str, Path], tmp_path: Path) -> None:
    class Choosing(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) if x.sum() > 0 else x.flatten(1)[:, :10]

    about = Predictor.of(load_run(runs["class"], "finetune")).about
    with pytest.raises(MethodError, match=r"mlp cannot be exported as torch.*data-dependent.*export it as safetensors"):
        program(Predictor(about, Choosing(64, 10)), "torch", torch.rand(2, 8, 8))
    with pytest.raises(RunError, match=r"differ by up to .*, more than 1e-30: nothing was exported"):
        export(runs["class"], tmp_path / "out", "torch", "icarl", tolerance=1e-30)
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="is there already"):
        export(runs["class"], tmp_path / "out")


# --- a file an expert --------------------------------------------------------------------------------------------------
def experts(folder: Path, tasks: int, scenario: str) -> Path:
    keys = {**SMALL, "stream": "permuted", "stream.tasks": tasks, "stream.examples": 60, "stream.test_examples": 60}
    keys |= {"scenario": scenario, "method": "expert_gate", "expert_gate.code": 4, "expert_gate.gate_epochs": 1}
    execute(RunSpec.from_keys(keys), folder / "run")
    return export(folder / "run", folder / "out").folder


def test_only_the_chosen_expert_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of tasks: one gate or expert at a time is in memory, one expert is read, and where the task is known no gate."""
    read = Files.tensors
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def watched(self: Files, name: str) -> dict[str, Tensor]:
        nonlocal most
        found = read(self, name)
        alive.extend(weakref.ref(t) for t in found.values() if name != TENSORS)
        most = max(most, sum(t.numel() for r in alive if (t := r()) is not None))
        return found

    monkeypatch.setattr(Files, "tensors", watched)
    peaks = []
    for tasks in (2, 6):
        folder = experts(tmp_path / str(tasks), tasks, "domain")
        predictor = load(folder)
        files = predictor.state.nets.files
        assert dict(files.reads) == {TENSORS: 1}
        assert len([n for n in files.checksums if n.startswith("nets")]) == tasks
        held = sum(b.numel() for b in predictor.buffers()) + sum(p.numel() for p in predictor.parameters())
        alive.clear()
        most = 0
        files.reads.clear()
        predictor.scores(torch.rand(1, 8, 8))
        assert sum(k for n, k in files.reads.items() if n.startswith("nets")) == 1
        assert sum(k for n, k in files.reads.items() if n.startswith("gates")) == tasks
        peaks.append((most, held - 10 * tasks - tasks * (tasks - 1) // 2))  # less each task's outputs and relatedness
    assert peaks[0] == peaks[1]
    predictor = load(experts(tmp_path / "known", 3, "task"))
    files = predictor.state.nets.files
    files.reads.clear()
    predictor.scores(torch.rand(5, 8, 8), 1)
    assert dict(files.reads) == {"nets-001.safetensors": 1}


def test_an_expert_that_is_missing_or_altered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = experts(tmp_path, 2, "task")
    expert = folder / "nets-001.safetensors"
    whole = expert.read_bytes()
    row = tmp_path / "row.csv"
    row.write_text(",".join(["0.5"] * 64) + "\n")
    ask = ["predict", str(folder), str(row), "--task"]
    assert main([*ask, "2"]) == 0
    expert.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main([*ask, "1"]) == 0  # not asked
    assert main([*ask, "2"]) == 1
    assert f"{expert} has been altered" in capsys.readouterr().err
    expert.write_bytes(whole[:-1])
    assert main([*ask, "1"]) == 1
    assert f"{expert} has been altered: it has {len(whole) - 1} bytes" in capsys.readouterr().err
    expert.unlink()
    assert main([*ask, "1"]) == 1
    assert f"{expert} is missing" in capsys.readouterr().err
    os.mkfifo(expert)
    assert main([*ask, "1"]) == 1
    (folder / "nets-000.safetensors").replace(tmp_path / "elsewhere")
    expert.unlink()
    expert.write_bytes(whole)
    (folder / "nets-000.safetensors").symlink_to(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main([*ask, "1"]) == 1
    assert "a link, which is not followed" in capsys.readouterr().err


def test_where_things_lay_is_not_told() -> None:
    assert without_folders("my photos (/home/ada/data/cats)") == "my photos (cats)"
    assert without_folders("path: /srv/x/y z: https://a.org/b a/b 1/2") == "path: y z: https://a.org/b a/b 1/2"


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = runpy.run_path(str(ROOT / "examples" / "release_gate.py"))["main"](tmp_path)
    assert found["status"] == {"finetune": 1, "replay": 0}
    assert found["right"] > 0.5
