"""How far a run is, read from what it writes: while it runs, after it was killed, and after it failed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lifelong import MLP, Finetune, Training, fit, split
from lifelong.cli import main
from lifelong.runs.heartbeat import FRESH, LOST, alive
from lifelong.runs.jobs import Message, execute
from lifelong.runs.run import log
from lifelong.runs.run_status import Folder
from lifelong.runs.spec import RunSpec
from run_folders import SMALL, finished, lay_out
from watched_pages import serving


def test_a_run_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.runs.heartbeat.EVERY", 0.01)
    monkeypatch.setattr(
        "lifelong.runs.jobs.BETWEEN", 0.0
    )  # each pause is told of: how fast the machine is does not matter
    out, seen = tmp_path / "run", []

    def look(message: Message) -> None:
        if message.kind == "step" and message.task == 1 and not seen:
            time.sleep(0.1)
            run = Folder(out).look("run")
            assert run is not None
            seen.append(run)

    config = RunSpec.from_keys(SMALL | {"method": "ewc", "epochs": 20, "seeds": 2})
    assert not execute(config, out, tell=look)[1]
    [run] = seen
    first, second = run.jobs
    assert (run.state, first.state, second.state) == ("running", "running", "waiting")
    assert first.learnt == 1
    assert 1 < first.done < 2
    assert 0.25 < run.share < 0.5
    assert run.left is not None
    assert run.left > first.spent(1)  # the other seed has all of it before it
    after = Folder(out).look("run")
    assert after is not None
    assert (after.state, after.share, after.left) == ("finished", 1.0, None)
    assert not list(out.glob("*progress*"))


def test_a_run_made_in_python_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.runs.heartbeat.EVERY", 0.01)
    out, states = tmp_path / "run", []

    def look(index: int, pause: object) -> None:
        time.sleep(0.03)
        run = Folder(out).look("run")
        states.append(run and (run.state, run.jobs[0].job.method, run.resume))

    stream = split(tasks=2, source="digits", scenario="task")
    fit(Finetune(), MLP((16,)), stream, training=Training(epochs=1), out=out, watch=look)
    assert states[-1] == ("running", "finetune", "")
    run = Folder(out).look("run")
    assert run is not None
    assert (run.state, run.tasks) == ("finished", tuple(t.name for t in stream))


def test_what_is_read_is_what_was_measured(tmp_path: Path) -> None:
    done = finished(tmp_path / "done")
    run = Folder(done).look("done")
    assert run is not None
    summary = json.loads((done / "summary.json").read_text())["methods"]
    for method in ("finetune", "ewc"):
        assert run.measures(method)["acc"] == list(summary[method]["acc"]["values"].values())
    bare = shutil.copytree(done, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoint")
    again = Folder(bare).look("bare")
    assert again is not None
    assert again.state == "finished"
    for a, b in zip(run.jobs, again.jobs):
        np.testing.assert_array_equal(np.array(a.record.accuracy), np.array(b.record.accuracy))
        assert (a.record.parameters, a.record.forward) == (b.record.parameters, b.record.forward)
        assert sum(map(a.spent, range(3))) == pytest.approx(sum(map(b.spent, range(3))))


def test_a_run_that_was_killed_is_interrupted_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a run"
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    command = [sys.executable, "-m", "lifelong", "run", *flags, "--epochs", "100000", "--every", "0"]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("checkpoint/*/*/*/state.json")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        run = Folder(out).look("a run")
        assert run is not None
        assert run.state == "running"
    finally:
        process.kill()
        process.wait()
    run = Folder(out).look("a run", time.time() + FRESH + 1)
    assert run is not None
    assert run.state == run.jobs[0].state == "interrupted"
    assert f"Killed: process {process.pid}" in run.reason
    assert run.resume == f"lifelong resume '{out}'"
    assert run.jobs[0].record.rows == 1  # the untrained network


@pytest.mark.parametrize(
    ("age", "pid", "host", "lives"),
    [
        (0, -1, "", True),
        (FRESH + 1, None, "", True),  # this process, whose number differs from worker to worker
        (FRESH + 1, 2**22 + 1, "", False),  # no process has this number
        (FRESH + 1, 2**22 + 1, "elsewhere", True),
        (LOST + 1, None, "", False),
        (-10, 1, "", True),  # a clock that is ahead
    ],
)
def test_who_is_alive(age: float, pid: int | None, host: str, lives: bool) -> None:
    assert (
        alive({"time": 1000.0 - age, "pid": pid or os.getpid(), "host": host or socket.gethostname()}, 1000.0) is lives
    )


def test_time_left_is_what_the_same_tasks_took(tmp_path: Path) -> None:
    run = Folder(lay_out(tmp_path / "run", {"ewc/0": 5, "ewc/1": 2})).look("run")
    assert run is not None
    assert run.left == pytest.approx(0.5 * 2 + 3 + 4)
    alone = Folder(lay_out(tmp_path / "alone", {"ewc/0": 3}, at=(3, 15, 60))).look("alone")
    assert alone is not None
    assert alone.left == pytest.approx(0.75 * 1.5 + 1.5)  # the mean of its own two
    new = Folder(lay_out(tmp_path / "new", {"ewc/0": 1}, at=(1, 20, 60))).look("new")
    assert new is not None
    assert new.left == pytest.approx(4 * 9 - 3, abs=0.3)  # twenty steps took three seconds


def test_a_failure_stands_with_its_message(tmp_path: Path) -> None:
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    assert main(["run", *flags, "--lr", "1e30", "--out", str(tmp_path / "wild")]) == 1
    page = serving(tmp_path).get("/run/wild").text
    assert "lower the learning rate" in page
    assert "finetune, seed 0, failed" in page
    assert f"lifelong resume {tmp_path}/wild" in page


def test_what_is_not_the_librarys_error_is_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of somebody's own")

    monkeypatch.setattr("lifelong.training.learner.Learner.evaluate", broken)
    with pytest.raises(ZeroDivisionError):
        execute(RunSpec.from_keys(SMALL), tmp_path / "run")
    run = Folder(tmp_path / "run").look("run")
    assert run is not None
    assert (run.state, run.jobs[0].error) == ("failed", "ZeroDivisionError: of somebody's own")


def test_ctrl_c_is_told_from_a_kill(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "run", {"ewc/0": 2}, running=False)
    log(folder, "interrupted", method="ewc", seed=0)
    run = Folder(folder).look("run")
    assert run is not None
    assert "Ctrl-C" in run.reason
    log(folder, "resumed", jobs=1)
    lay_out(folder, {"ewc/0": 2})
    run = Folder(folder).look("run")
    assert run is not None
    assert run.state == "running"
