"""Results that are kept: what is there is read, what is not is made once, and another specification is another result."""

from __future__ import annotations

import errno
import json
import operator
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lifelong import MLP, Finetune, RunError, Training, fit
from lifelong.core.examples import Tensors
from lifelong.core.stream import Stream
from lifelong.curriculum.affinity import TENSORS
from lifelong.curriculum.order_effect import orders, study
from lifelong.runs.checkpoint import Store
from lifelong.runs.fitting import learn
from lifelong.runs.jobs import execute
from lifelong.runs.naming import spec_of
from lifelong.runs.results import Codec, Name, Results, fingerprint, gather, json_codec
from lifelong.runs.run import Job, Run
from lifelong.runs.same_run import about_data, name_of
from lifelong.runs.spec import RunSpec
from toys import FEATURES, toy_net, toy_stream

NUMBERS: Codec[float] = json_codec(lambda value: {"value": value}, lambda said: float(said["value"]))
TRAINING = Training(batch_size=16)


class Work:
    """Squares numbers, and knows which."""

    def __init__(self, folder: Path, stops: int | None = None) -> None:
        self.results = Results(folder, NUMBERS)
        self.stops, self.did, self.told = stops, list[int](), list[Any]()

    def squared(self, i: int, place: Path) -> float:
        place.mkdir(parents=True, exist_ok=True)
        (place / "checkpoint").write_text("half")
        if i == self.stops:
            raise KeyboardInterrupt
        self.did.append(i)
        return float(i * i)

    def of(self, *numbers: int, more: str = "") -> list[float]:
        names = [Name(f"n{i}", fingerprint([i, more])) for i in numbers]
        work = [(i, self.results.unfinished(name)) for i, name in zip(numbers, names)]
        return gather(
            self.squared,
            names,
            work,
            self.results,
            already=self.told.append,
            made=lambda i, value: self.told.append((i, value)),
        )


# --- the folder ---------------------------------------------------------------------------------------------------------------
def test_what_is_there_is_read(tmp_path: Path) -> None:
    first = Work(tmp_path)
    assert first.of(3, 1) == [9, 1]
    assert first.told == [(0, 9.0), (1, 1.0)]
    again = Work(tmp_path)
    assert again.of(1, 2, 3) == [1, 4, 9]
    assert again.did == [2]
    assert again.told == [2, (1, 4.0)]
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]  # checkpoints of what is done


def test_what_is_asked_twice_is_done_once(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert work.of(2, 3, 2) == [4, 9, 4]
    assert work.did == [2, 3]
    assert work.told == [(0, 4.0), (2, 4.0), (1, 9.0)]
    again = Work(tmp_path)
    assert again.of(2, 2) == [4, 4]
    assert again.told == [2]
    assert gather(operator.add, [Name("a", ""), Name("a", "")], [(1, 2), (1, 2)]) == [3, 3]  # nowhere is anything kept


@pytest.mark.parametrize("damage", [b"", b"{", b'{"value": "x"}', b'{"other": 1}', b"[]", b"3", b"\xff\xfe"])
def test_what_is_damaged_is_made_again(damage: bytes, tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.of(2, 3)
    name = Name("n2", fingerprint([2, ""]))
    work.results.path(name).write_bytes(damage)
    assert work.results.read(name) is None
    assert work.of(2, 3) == [4, 9]
    assert work.did == [2, 3, 2]
    assert work.results.read(name) == 4


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    stopped = Work(tmp_path, stops=3)
    with pytest.raises(KeyboardInterrupt):
        stopped.of(1, 2, 3, 4)
    assert stopped.told == [(0, 1.0), (1, 4.0)]
    place = stopped.results.unfinished(Name("n3", fingerprint([3, ""])))
    assert (place / "checkpoint").read_text() == "half"
    again = Work(tmp_path)
    assert again.of(1, 2, 3, 4) == [1, 4, 9, 16]
    assert again.did == [3, 4]
    assert not place.exists()


def test_checkpoints_of_one_that_died_after_its_result_was_written_are_removed(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.of(2)
    place = work.results.unfinished(Name("n2", fingerprint([2, ""])))
    place.mkdir()
    work.of(2)
    assert not place.exists()


def test_what_depends_on_something_else_is_another_result(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.of(2)
    work.of(2, more="another network")
    assert work.did == [2, 2]
    assert len(list(tmp_path.iterdir())) == 2
    assert fingerprint({"a": 1, "b": [2.5, None]}) == fingerprint({"b": [2.5, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_an_order_of_very_many_tasks_has_a_file(tmp_path: Path) -> None:
    results, name = Results(tmp_path, NUMBERS), Name("-".join(map(str, range(300))), fingerprint(300))
    results.write(name, 1.0)
    assert results.read(name) == 1.0


def test_a_full_disk_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, real = Work(tmp_path), os.fsync

    def full(handle: int) -> None:
        if work.did == [1, 2]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"n2.*No space left.*free some space"):
        work.of(1, 2, 3)
    monkeypatch.undo()
    assert work.results.unfinished(Name("n2", fingerprint([2, ""]))).exists()  # from which it goes on
    again = Work(tmp_path)
    assert again.of(1, 2, 3) == [1, 4, 9]
    assert again.did == [2, 3]


def test_results_of_several_processes(tmp_path: Path) -> None:
    names = [Name("sum", fingerprint(i)) for i in range(3)]
    results = Results(tmp_path, NUMBERS)
    assert gather(operator.add, names, [(i, 10) for i in range(3)], results, jobs=2) == [10, 11, 12]
    assert [results.read(name) for name in names] == [10, 11, 12]


def test_tensors_are_kept_with_what_they_cost(tmp_path: Path) -> None:
    results, name = Results(tmp_path, TENSORS), Name("source", "0")
    results.write(name, ({"net.a": torch.eye(3), "own": torch.tensor(2.0)}, {"forward": 3}))
    found = results.read(name)
    assert found is not None
    tensors, spent = found
    assert spent == {"forward": 3}
    assert torch.equal(tensors["net.a"], torch.eye(3))
    whole = results.path(name).read_bytes()
    for part in (whole[:-1], whole[:20], b"", b"\x00" * 8):
        results.path(name).write_bytes(part)
        assert results.read(name) is None


# --- the name of a job --------------------------------------------------------------------------------------------------------
KEYS = {
    "stream": "split",
    "stream.source": "digits",
    "stream.tasks": 2,
    "net.hidden": (16,),
    "method": "ewc,l2",
    "seeds": 2,
}
SPEC, JOB = RunSpec.from_keys({**KEYS, "ewc.strength": 5.0}), Job("ewc", 1)


def named(spec: RunSpec, change: Callable[[Stream], Stream] = lambda stream: stream) -> Name:
    stream = change(spec.build_stream(1))
    return name_of(spec, JOB, stream, about_data(stream))


@pytest.mark.parametrize(
    "same",
    [
        {"every": 0.0},
        {"threads": 2},
        {"tuned": "first"},
        {"methods": ("ewc",)},
        {"seeds": (1,)},
        {"method_options": {"ewc": {"strength": 5.0}, "l2": {"strength": 9.0}}},
    ],
    ids=lambda same: next(iter(same)),
)
def test_what_does_not_change_a_result_is_not_in_its_name(same: dict[str, Any]) -> None:
    assert named(replace(SPEC, **same)) == named(SPEC)


@pytest.mark.parametrize(
    "other",
    [
        {"net_options": {"hidden": (17,)}},
        {"method_options": {"ewc": {"strength": 6.0}}},
        {"training": {**SPEC.training, "lr": 0.3}},
        {"precision": "float64"},
        {"evaluate_every": 5},
        {"budget_compute": 10**6},
        {"order": (1, 0)},
        {"scenario": "task"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_changes_a_result_is_in_its_name(other: dict[str, Any]) -> None:
    assert named(replace(SPEC, **other)) != named(SPEC)


def test_data_are_in_the_name_but_for_rounding() -> None:
    def times(factor: float) -> Callable[[Stream], Stream]:
        def change(stream: Stream) -> Stream:
            tasks = [replace(t, train=Tensors(x * factor, t.train.labels)) for t, x in zip(stream, inputs(stream))]
            return replace(stream, tasks=tuple(tasks))

        return change

    assert named(SPEC, times(1.0)) == named(SPEC)
    assert named(SPEC, times(1 + 1e-3)) != named(SPEC)


def inputs(stream: Stream) -> list[torch.Tensor]:
    return [torch.cat([chunk.x for chunk in task.train.all()]) for task in stream]


def test_weights_and_code_of_ones_own_are_in_the_name() -> None:
    stream = toy_stream("domain")
    data = about_data(stream)

    def name(net: Any) -> Name:
        return name_of(spec_of(Finetune(), net, lambda seed: stream), Job("finetune", 0), stream, data)

    def maker(width: int) -> Callable[[tuple[int, ...], int], nn.Module]:
        return lambda shape, outputs: nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, outputs))

    assert name(toy_net(3)) == name(toy_net(3))
    assert name(toy_net(3)) != name(toy_net(3, seed=1))
    assert name(maker(8)) == name(maker(8))
    assert name(maker(8)) != name(maker(9))  # two functions of one name
    assert name(MLP((8,))) == name(MLP((8,)))


# --- runs ---------------------------------------------------------------------------------------------------------------------
def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*args: Any, **more: Any) -> Any:
        raise AssertionError("a learner was built")

    monkeypatch.setattr(RunSpec, "build_learner", build)


def record_in(folder: Path) -> Path:
    [found] = (folder / "checkpoint" / "finetune" / "0").glob("*.json")
    return found


def finished(folder: Path) -> Run:
    return fit(Finetune(), MLP((8,)), toy_stream("domain"), training=TRAINING, out=folder)


def test_a_job_that_is_done_needs_no_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(tmp_path / "fit")
    spec = RunSpec.from_keys({**KEYS, "method": "finetune", "epochs": 1})
    second, failed = execute(spec, tmp_path / "run")
    assert not failed
    forbid(monkeypatch)
    assert finished(tmp_path / "fit").results() == first.results()
    again, failed = execute(spec, tmp_path / "run", again=True)
    assert not failed
    assert again.results() == second.results()
    with pytest.raises(AssertionError):
        execute(replace(spec, precision="float64"), tmp_path / "run", again=True)


@pytest.mark.parametrize("gone", ["record", "last checkpoint", "weights"])
def test_a_job_of_which_something_is_gone_is_done_again(gone: str, tmp_path: Path) -> None:
    """Its last checkpoint is what it has learnt: a record alone is not all of it."""
    first = finished(tmp_path)
    place = record_in(tmp_path).parent
    before = Store(place).newest()
    newest = max(place.glob("[0-9]*"))
    if gone == "record":
        record_in(tmp_path).write_text("{")
    elif gone == "last checkpoint":
        shutil.rmtree(newest)
    else:
        (newest / "tensors.safetensors").write_bytes(b"cut off")
    assert str(finished(tmp_path).matrix().R) == str(first.matrix().R)
    store = Store(place)
    after = store.newest()
    assert before is not None
    assert after is not None
    assert not store.damaged
    assert all(torch.equal(after["tensors"][k], v) for k, v in before["tensors"].items())
    assert json.loads(record_in(tmp_path).read_text())["T"] == 3


def test_other_weights_are_another_run(tmp_path: Path) -> None:
    stream = toy_stream("domain")
    fit(Finetune(), toy_net(stream.outputs), stream, training=TRAINING, out=tmp_path)
    for seeds in ([0], [1]):  # nor beside it
        with pytest.raises(RunError, match=r"began with other weights.*choose another --out"):
            fit(Finetune(), toy_net(stream.outputs, seed=1), stream, seeds=seeds, training=TRAINING, out=tmp_path)
    spec = spec_of(Finetune(), toy_net(stream.outputs, seed=1), lambda seed: stream, training=TRAINING)
    with pytest.raises(RunError, match="began with other weights"):
        learn(spec, Job("finetune", 0), tmp_path)
    fit(Finetune(), toy_net(stream.outputs), stream, seeds=[1], training=TRAINING, out=tmp_path)


def test_a_study_of_another_network_of_the_same_name_is_another(tmp_path: Path) -> None:
    stream = toy_stream("domain", tasks=2)

    def maker(width: int) -> Callable[[tuple[int, ...], int], nn.Module]:
        return lambda shape, outputs: nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, outputs))

    told: list[str] = []
    for width in (8, 9):
        study(stream, orders(2, 1), Finetune(), maker(width), TRAINING, folder=tmp_path, tell=told.append)
    assert len(list((tmp_path / "orders").glob("*.json"))) == 2
    assert not [line for line in told if "already" in line]
