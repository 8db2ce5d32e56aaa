"""Killed at any moment and resumed, a run ends on the bits of one that nobody touched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lifelong.runs.checkpoint import Store

RUN = [
    *("run", "--stream", "split", "--stream.source", "digits", "--stream.tasks", "3", "--stream.seed", "0"),
    *("--method", "ewc", "--method.strength", "10", "--net.hidden", "32", "--net.dropout", "0.2"),
    *("--optimizer", "adam", "--lr", "0.003", "--epochs", "3", "--batch_size", "16", "--threads", "1", "--every", "0"),
]

# What runs before the command: at the n-th call of something, the process kills itself.
MOMENTS = {
    "within an epoch": ("lifelong.training.task_loop", "chunk_of_steps", 5),
    "before the second task": ("lifelong.training.learner", "Learner.enter", 2),
    "while the Fisher is estimated": ("lifelong.parts.sensitivity", "_by_rules", 2),
    "after the task, before it is measured": ("lifelong.training.learner", "Learner.evaluate", 3),
    "while a checkpoint is written": ("os", "rename", 4),
    "while the first checkpoint is written": ("os", "fsync", 6),
    "while the results are written": ("lifelong.runs.run", "Run.results", 1),
}
GROWING = [
    *("run", "--stream", "split", "--stream.source", "digits", "--stream.tasks", "3", "--stream.seed", "0"),
    *(
        "--scenario",
        "task",
        "--method",
        "gem+grow",
        "--gem.buffer_size",
        "20",
        "--grow.threshold",
        "1",
        "--grow.times",
        "2",
    ),
    *(
        "--net.hidden",
        "12",
        "--lr",
        "0.01",
        "--momentum",
        "0.9",
        "--batch_size",
        "16",
        "--threads",
        "1",
        "--every",
        "0",
    ),
]
MOMENTS_OF_GROWTH = {  # the digits' first task ends below an accuracy of 1, and so does the second: both grow
    "between an expansion and its retraining": ("lifelong.training.learner", "train", 2),
    "within its retraining": ("lifelong.training.task_loop", "chunk_of_steps", 2),
}
DRIVER = """
import importlib, os, signal, sys
module, path, n = {where!r}
owner = importlib.import_module(module)
*inner, name = path.split(".")
for part in inner:
    owner = getattr(owner, part)
real, count = getattr(owner, name), 0
def dying(*args, **kwargs):
    global count
    count += 1
    if count == n:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(owner, name, dying)
from lifelong.cli import main
sys.exit(main(sys.argv[1:]))
"""


def call(*args: str, where: tuple[str, str, int] | None = None) -> subprocess.CompletedProcess[str]:
    code = ["-c", DRIVER.format(where=where)] if where else ["-m", "lifelong"]
    return subprocess.run([sys.executable, *code, *args], capture_output=True, text=True, check=False, timeout=120)


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[list[float]]]:
    [method] = (folder / "checkpoint").iterdir()
    found = Store(method / "0").newest()
    assert found is not None
    return found["tensors"], found["meta"]["record"]["accuracy"]


def agree(a: Path, b: Path) -> None:
    (tensors, rows), (others, other_rows) = outcome(a), outcome(b)
    assert str(rows) == str(other_rows)  # NaN stands beside NaN
    assert tensors.keys() == others.keys()
    for key in tensors:
        assert torch.equal(tensors[key], others[key]), key
    assert (a / "results.csv").exists()
    assert (b / "results.csv").exists()
    assert (b / "report.html").exists()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    done = call(*RUN, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


QUICK = {"while the Fisher is estimated", "while a checkpoint is written"}  # the others are left to `pytest -m slow`


@pytest.mark.parametrize("moment", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MOMENTS])
def test_killed_at(moment: str, untouched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed = call(*RUN, "--out", str(folder), where=MOMENTS[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (folder / "results.csv").exists()
    resumed = call("resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    agree(untouched, folder)
    again = call("resume", str(folder))
    assert again.returncode == 0
    assert "is finished" in again.stderr


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    done = call(*GROWING, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    found = Store(folder / "checkpoint" / "gem+grow" / "0").newest()
    assert found is not None
    assert [g["size"] for g in found["meta"]["growth"]] == [24, 48]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS_OF_GROWTH)
def test_killed_while_growing(moment: str, grown: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed = call(*GROWING, "--out", str(folder), where=MOMENTS_OF_GROWTH[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = call("resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    agree(grown, folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_again_and_again(seed: int, untouched: Path, tmp_path: Path) -> None:
    folder, rng = tmp_path / "run", random.Random(seed)
    command = [sys.executable, "-m", "lifelong", *RUN, "--out", str(folder)]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (folder / "checkpoint").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        command = [sys.executable, "-m", "lifelong", "resume", str(folder)]
    resumed = call("resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    agree(untouched, folder)


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(untouched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "lifelong", *RUN, "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    job = folder / "checkpoint" / "ewc" / "0"
    while not (job / "000001").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"lifelong resume {folder}" in said
    assert call("resume", str(folder)).returncode == 0
    agree(untouched, folder)


def test_a_damaged_checkpoint_is_passed_over(untouched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert call(*RUN, "--out", str(folder), where=("os", "rename", 5)).returncode == -signal.SIGKILL
    job = folder / "checkpoint" / "ewc" / "0"
    newest = sorted(p for p in job.iterdir() if p.name.isdigit())[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-40])
    assert call("resume", str(folder)).returncode == 0
    agree(untouched, folder)
    assert "damaged" in (folder / "events.jsonl").read_text()


def test_a_directory_is_not_entered_twice(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    slow = [*RUN, "--epochs", "2000", "--out", str(folder)]
    process = subprocess.Popen([sys.executable, "-m", "lifelong", *slow], stderr=subprocess.DEVNULL)
    try:
        while not (folder / "checkpoint").exists():
            assert process.poll() is None
            time.sleep(0.02)
        second = call("resume", str(folder))
        assert second.returncode == 1
        assert "in use" in second.stderr
        assert os.path.exists(folder / "config.yaml")
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_several_processes_give_the_same_numbers(untouched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = call(*RUN, "--seeds", "2", "--jobs", "2", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    agree(untouched, folder)
