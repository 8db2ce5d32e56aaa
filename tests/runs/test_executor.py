"""Work in several processes, on a Ray cluster, and who may write where."""

from __future__ import annotations

import importlib
import operator
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytest
import torch

import lifelong
from lifelong.cli import main
from lifelong.core import code
from lifelong.core.errors import DataError, MethodError, RunError
from lifelong.runs import executor as pool
from lifelong.runs import lease as leases
from lifelong.runs.checkpoint import Store
from lifelong.runs.executor import Engine, Hear, Local, Stop, Work, never
from lifelong.runs.jobs import Message, execute
from lifelong.runs.lease import leased
from lifelong.runs.ray_executor import Ray
from lifelong.runs.run import Job
from lifelong.runs.spec import RunSpec
from toys import DiesOnce, dies, squared

KEYS = {
    **{
        "stream": "split",
        "stream.source": "digits",
        "stream.tasks": 2,
        "stream.examples": 100,
        "net.hidden": (16,),
        "net.dropout": 0.2,
    },
    **{"optimizer": "adam", "lr": 0.003, "batch_size": 16, "threads": 1, "every": 0.0, "method": "l2", "seeds": 2},
}


# --- somebody's code ---
def test_objects_of_named_code_reach_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object whose class is in a file that was named is read where the file is loaded; what cannot be read is refused, not tried again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("class Doubling:\n    def __call__(self):\n        return 7\n")
    (tmp_path / "elsewhere.py").write_text("class Lost:\n    pass\n")
    doubling = code.load("./mine.py:Doubling")
    (tmp_path / "changed.py").write_text("seven = 7\n")
    assert code.load("./changed.py:seven") == 7
    (tmp_path / "changed.py").write_text("raise SystemExit('run')\n")
    assert dict(Local(2).each(operator.call, [(doubling(),), (doubling(),)])) == {0: 7, 1: 7}
    monkeypatch.syspath_prepend(tmp_path)
    lost = importlib.import_module("elsewhere")
    (tmp_path / "elsewhere.py").unlink()
    with pytest.raises(MethodError, match=r"another cannot read.*jobs 1"):
        dict(Local(2).each(type, [(lost.Lost(),), (lost.Lost(),)]))


# --- leases ---
def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with leased(tmp_path) as lease:
        assert lease.held
        with pytest.raises(RunError, match="in use"), leased(tmp_path):
            pass
    assert not lease.held
    began = time.monotonic()
    with leased(tmp_path):
        threading.Timer(0.3, lambda: None).start()
    assert time.monotonic() - began < 1  # nothing was left that has to be waited for


def test_a_claim_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shares no locks: its lease counts for as long as it is renewed."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    other = tmp_path / ".owner"
    other.write_text('{"token": "x", "machine": "elsewhere"}')
    over = threading.Event()

    def alive() -> None:
        while not over.wait(0.05):
            os.utime(other)

    thread = threading.Thread(target=alive)
    thread.start()
    with pytest.raises(RunError, match="elsewhere"), leased(tmp_path):
        pass
    over.set()
    thread.join()
    with leased(tmp_path) as lease:  # it is dead
        assert lease.held
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock"]


def test_who_lost_its_claim_writes_nothing(tmp_path: Path) -> None:
    state = {"tensors": {"a": torch.ones(2)}, "meta": {}}
    with leased(tmp_path) as lease:
        store = Store(tmp_path, lease)
        store.save(state)
        (tmp_path / ".owner").write_text("another")
        with pytest.raises(RunError, match="taken over"):
            store.save(state)
    assert [p.name for p in tmp_path.iterdir() if p.name.isdigit()] == ["000001"]
    assert (tmp_path / ".owner").read_text() == "another"  # and takes nothing away


# --- engines ---
@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    """A cluster of one node that reports to nobody, keeps nothing in the user's folder, and finds the modules of the tests."""
    paths = [str(Path(__file__).parents[1]), str(Path(lifelong.__file__).parents[1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_worker_niceness", "0")  # a busy machine starves what is nicer
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        import ray

        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            yield Ray()
        finally:
            ray.shutdown()


def hold(engine: Engine) -> None:
    """What holds of every engine: results and what is said come as they are made, and an error ends it."""
    found, heard = {}, list[Any]()

    def all_of_it() -> None:
        for i, value in engine.each(squared, [(1,), (2,), (3,), (-1,)], heard.append):
            found[i] = value  # noqa: PERF403 (what came before the error counts)

    with pytest.raises(DataError, match="number -1"):
        all_of_it()
    assert len(found) >= 2
    assert found.items() <= {0: 1, 1: 4, 2: 9}.items()
    assert {i + 1 for i in found} <= set(heard) <= {1, 2, 3, -1}


def test_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(Local(2))
    monkeypatch.setattr(pool, "TRIES", 1)
    with pytest.raises(RunError, match="ended 1 times"):
        list(Local(2).each(dies, [(0,), (1,)]))


def test_ray(ray_engine: Engine) -> None:
    hold(ray_engine)


@final
@dataclass(frozen=True)
class Mortal(Engine):
    """Another engine, one process of which dies at the end of the first task that is learnt."""

    engine: Engine
    grave: Path

    def each(
        self, function: Callable[..., Any], work: Work, hear: Hear | None = None, stop: Stop = never
    ) -> Iterator[tuple[int, Any]]:
        return self.engine.each(DiesOnce(function, self.grave), work, hear, stop)

    @property
    def here(self) -> bool:
        return self.engine.here


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "alone"
    execute(RunSpec.from_keys({**KEYS, "epochs": 30}), folder)
    return folder


@pytest.mark.parametrize("where", ["processes", "ray"])
def test_a_killed_worker_costs_the_study_nothing(
    where: str, alone: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine = Local(2) if where == "processes" else request.getfixturevalue("ray_engine")
    heard = list[Message]()
    engine = Mortal(engine, tmp_path / "grave")
    _, failed = execute(RunSpec.from_keys({**KEYS, "epochs": 30}), tmp_path / "run", engine, heard.append)
    assert not failed
    dead = (tmp_path / "grave").read_text()
    steps = [(m.task, m.step) for m in heard if m.kind == "step" and str(m.job.folder) == dead]
    assert steps == sorted(set(steps))  # the first task was not learnt again
    assert steps[-1][0] == 1
    for job in (Job("l2", 0), Job("l2", 1)):
        a, b = (Store(folder / job.folder).newest() for folder in (alone, tmp_path / "run"))
        assert a is not None
        assert b is not None
        assert str(a["meta"]["record"]["accuracy"]) == str(b["meta"]["record"]["accuracy"])
        assert a["tensors"].keys() == b["tensors"].keys()
        assert all(torch.equal(t, b["tensors"][k]) for k, t in a["tensors"].items())
    assert not list((tmp_path / "run").rglob(".owner*"))


def test_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, said in (
        (["--address", "127.0.0.1:6379"], "--engine ray"),
        (["--jobs", "0"], "at least 1 process"),
    ):
        assert main(["run", *flags, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(MethodError, match="at least 1"):
        Local(0)
