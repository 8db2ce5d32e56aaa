"""Transfers: each against the same thing done by hand, and a folder that is gone on with."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from lifelong import MLP, DataError, Finetune, Learner, MethodError, RunError, Stream, Task, Tensors, Training
from lifelong.core.contexts import Costs
from lifelong.curriculum.affinity import Probe, Transfers, _readout, _source, measure, planned
from lifelong.curriculum.taxonomy import SELF, Transfer, ahp, win_rates
from lifelong.nets.heads import features
from lifelong.runs.executor import each
from lifelong.training.build import learner_for
from toys import toy_stream

NET, TRAINING = MLP((12,)), Training(lr=0.1, batch_size=16, epochs=3)
PROBE = Probe(few=30, pairs=2, fraction=0.25)


def test_a_readout_is_the_minimum_of_its_function() -> None:
    g = torch.Generator().manual_seed(0)
    phi, y, held, held_y = (
        torch.randn(40, 5, generator=g),
        torch.arange(40) % 3,
        torch.randn(20, 5, generator=g),
        torch.arange(20) % 3,
    )
    phi[:, 4] = held[:, 4] = 7.0  # never varies
    D, passes = _readout(phi, y, held, held_y, 3, decay=0.1)
    assert passes > 1
    X, H = phi.double().numpy()[:, :4], held.double().numpy()[:, :4]
    X, H = (X - X.mean(0)) / X.std(0), (H - X.mean(0)) / X.std(0)

    def losses(w: np.ndarray, Z: np.ndarray, labels: torch.Tensor) -> np.ndarray:
        scores = Z @ w[:12].reshape(4, 3) + w[12:]
        return np.log(np.exp(scores).sum(1)) - scores[np.arange(len(Z)), labels.numpy()]

    best = minimize(lambda w: losses(w, X, y).mean() + 0.05 * (w[:12] ** 2).sum(), np.zeros(15), tol=1e-12)
    assert D.numpy() == pytest.approx(losses(best.x, H, held_y), abs=2e-3)


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_transfers_by_hand(scenario: str) -> None:
    stream = toy_stream(scenario, examples=120)  # type: ignore[arg-type]
    found = measure(stream, NET, TRAINING, PROBE, seed=3)
    held = stream.hold_out(0.25, 3)
    few = held.few(30, 3)
    names = [t.name for t in stream]
    nets = []
    for t in range(3):
        learner = learner_for(Finetune(), NET, held, TRAINING, 3)
        learner.learn(held[t])
        nets.append(learner.net.eval())
        # the task's own network, among the task's own classes
        own = list(held[t].classes)
        x, y = next((c.x, c.y) for c in held[t].test.all())
        scores = learner.net(x)[:, own]
        expected = F.cross_entropy(scores, y - own[0], reduction="none")
        assert found.losses[Transfer((SELF,), names[t])] == pytest.approx(expected.detach().double().numpy(), abs=1e-5)
        scratch = learner_for(Finetune(), NET, few, TRAINING, 3)
        scratch.learn(few[t])
        expected = F.cross_entropy(scratch.net.eval()(x)[:, own], y - own[0], reduction="none")
        assert found.scratch[names[t]] == pytest.approx(expected.detach().double().numpy(), abs=1e-5)
    pairs = [t for t in found.losses if len(t.sources) == 2]
    assert len(pairs) == 3  # one a target: those of its two best single sources
    for transfer in (*pairs, *[Transfer((a,), b) for a in names for b in names]):
        t = names.index(transfer.target)
        first = few[t].classes[0]
        with torch.no_grad():
            phi, held_phi = (
                torch.cat([features(nets[names.index(s)], next(part.all()).x) for s in transfer.sources], 1)
                for part in (few[t].train, held[t].test)
            )
        D, _ = _readout(phi, few[t].train.labels - first, held_phi, held[t].test.labels - first, 3, PROBE.decay)
        assert found.losses[transfer] == pytest.approx(D.double().numpy(), abs=1e-4)
    table = found.affinities
    for name in names:
        to = [t for t in found.losses if t.target == name]
        assert [table.p[t] for t in to] == pytest.approx(list(ahp(win_rates([found.losses[t] for t in to]))))
        assert table.quality[Transfer((SELF,), name)] == 0.5
    some = Transfer((names[0],), names[1])
    assert table.gain[some] == pytest.approx((found.losses[some] < found.scratch[names[1]]).mean())
    assert found.mean_losses()[some] == pytest.approx(found.losses[some].mean())


def test_fine_tuning_as_the_transfer() -> None:
    stream = toy_stream("domain", examples=120)
    found = measure(stream, NET, TRAINING, Probe(few=30, how="finetune", fraction=0.25), seed=3)
    held = stream.hold_out(0.25, 3)
    learner = learner_for(Finetune(), NET, held, TRAINING, 3)
    learner.learn(held[2])
    second = Learner(copy.deepcopy(learner.net), Finetune(), TRAINING, scenario="domain", seed=3)
    second.learn(held.few(30, 3)[0])
    chunk = next(held[0].test.all())
    expected = F.cross_entropy(second.net.eval()(chunk.x), chunk.y, reduction="none").detach().double().numpy()
    assert found.losses[Transfer(("blobs 3",), "blobs 1")] == pytest.approx(expected, abs=1e-5)


def test_the_test_sets_are_never_read() -> None:
    stream = toy_stream("domain", examples=60)
    wild = tuple(replace(t, test=replace(t.test, x=torch.full_like(t.test.x, float("nan")))) for t in stream)  # type: ignore[type-var, attr-defined]
    a = measure(stream, NET, TRAINING, PROBE)
    b = measure(replace(stream, tasks=wild), NET, TRAINING, PROBE)
    assert all(np.array_equal(a.losses[t], b.losses[t]) for t in a.losses)


def test_a_task_that_is_a_copy_helps_more_than_noise() -> None:
    stream = toy_stream("domain", tasks=2, examples=200)
    first, other = stream
    noise = Tensors(torch.randn(200, 12, generator=torch.Generator().manual_seed(5)), first.train.labels)
    tasks = (
        first,
        Task("copy", first.train, first.test, first.classes),
        other,
        Task("noise", noise, other.test, first.classes),
    )
    found = measure(
        Stream(tasks, "domain", stream.class_names), MLP((6,)), Training(lr=0.2, batch_size=16, epochs=8), Probe(few=12)
    )
    p = found.affinities.p
    assert p[Transfer(("copy",), first.name)] == pytest.approx(
        p[Transfer((first.name,), first.name)]
    )  # the same network
    assert p[Transfer(("copy",), first.name)] > p[Transfer(("noise",), first.name)]


def test_a_folder_is_gone_on_with(tmp_path: Path) -> None:
    stream = toy_stream("domain", examples=60)
    alone = measure(stream, NET, TRAINING, PROBE)
    told: list[str] = []
    folder = tmp_path / "kept"
    measure(stream, NET, TRAINING, PROBE, folder=folder, tell=told.append)
    assert len(told) == 6
    for gone in ("source-001", "target-002"):
        next(folder.glob(f"{gone}-*.safetensors")).unlink()
    next(folder.glob("target-000-*.safetensors")).write_bytes(b"cut off")
    told.clear()
    again = measure(stream, NET, TRAINING, PROBE, folder=folder, tell=told.append)
    assert [line.split(",")[0] for line in told] == [
        "source: 2 of 3 were there already",
        "source blobs 2: 3/3",
        "target: 1 of 3 were there already",
        "target blobs 1: 2/3",
        "target blobs 3: 3/3",
    ]
    for found in (again, measure(stream, NET, TRAINING, PROBE, folder=folder)):
        assert found.losses.keys() == alone.losses.keys()
        assert all(np.array_equal(found.losses[t], alone.losses[t]) for t in alone.losses)
        assert (found.costs.forward, found.costs.backward) == (alone.costs.forward, alone.costs.backward)
    # sources are kept when pairs are asked for otherwise
    told.clear()
    fewer = measure(stream, NET, TRAINING, replace(PROBE, pairs=0), folder=folder, tell=told.append)
    assert told[0] == "source: 3 of 3 were there already"
    assert all(len(t.sources) == 1 for t in fewer.losses)
    with pytest.raises(RunError, match="another seed"):
        measure(stream, NET, TRAINING, PROBE, seed=1, folder=folder)
    with pytest.raises(RunError, match="another set of examples"):
        measure(toy_stream("domain", examples=60, seed=1), NET, TRAINING, PROBE, folder=folder)


def test_in_several_processes() -> None:
    stream = toy_stream("domain", examples=60)
    work = [(stream.subset([i]), NET, TRAINING, 3) for i in range(3)]
    alone = dict(each(_source, work))
    spread = dict(each(_source, work, jobs=2))
    assert alone.keys() == spread.keys() == {0, 1, 2}
    assert all(torch.equal(spread[i][0][k], alone[i][0][k]) for i in range(3) for k in alone[i][0])


def test_what_cannot_be_measured() -> None:
    stream = toy_stream("domain")
    for name in ("a__b", SELF, "blobs 2"):
        tasks = (replace(stream[0], name=name), *stream.tasks[1:])
        with pytest.raises(DataError, match="rename the task"):
            measure(replace(stream, tasks=tasks), NET, TRAINING)
    with pytest.raises(MethodError, match="few of at least 1"):
        Probe(few=0)
    with pytest.raises(MethodError, match="features"):
        Probe(pairs=2, how="finetune")


def test_one_task_and_nothing_but_ties() -> None:
    found = measure(toy_stream("domain").subset([0]), NET, TRAINING, Probe(few=30))
    assert set(found.affinities.p) == {Transfer((s,), "blobs 1") for s in ("blobs 1", SELF)}
    D = np.ones(4)
    ties = Transfers(
        ("a", "b"), {Transfer((s,), t): D for t in "ab" for s in ("a", "b", SELF)}, {"a": D, "b": D}, Costs()
    )
    assert set(np.round(list(ties.affinities.p.values()), 9)) == {round(1 / 3, 9)}
    assert set(ties.affinities.gain.values()) == {0.5}


def test_the_cost_is_said_beforehand() -> None:
    stream = toy_stream("domain", examples=100)
    said = planned(stream, TRAINING, PROBE)
    assert "3 source networks" in said
    assert "9 transfers" in said
    assert "3 pairs" in said
    # 75 examples, three epochs; 30 from scratch, three epochs; three tasks
    assert f"{3 * 3 * (75 + 30):,} examples" in said
