"""Budgets of compute and memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor, nn

from lifelong import EWC, GEM, MLP, Finetune, LwF, Method, Replay, Training, chain, fit
from lifelong.cli import main
from lifelong.core.errors import MethodError, RunError
from lifelong.core.registry import METHODS
from lifelong.core.stream import Scenario
from lifelong.measures.budget import Budget, amount
from lifelong.methods import ExpertGate, GenerativeReplay, ICaRL
from lifelong.runs.checkpoint import Store
from lifelong.runs.memory_needed import memory_needed
from lifelong.runs.run import Record
from lifelong.runs.spec import RunSpec
from lifelong.runs.stream_loop import follow
from lifelong.training.build import learner_for
from toys import same, toy_learner, toy_stream, weights

TRAINING = Training(lr=0.05, batch_size=16, epochs=4)
NET = MLP((8,))


def record(method: Method, budget: Budget | None = None, examples: int = 96) -> Record:
    [found] = fit(
        method, NET, toy_stream("domain", examples=examples), training=TRAINING, budget=budget
    ).records.values()
    return found


def passes(found: Record) -> int:
    return sum(found.forward) + sum(found.backward)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_will_keep_is_known_before(name: str) -> None:
    entry = METHODS[name]
    stream, method = toy_stream(entry.scenarios[0], examples=48), entry.load()()  # type: ignore[arg-type]
    [found] = fit(method, NET, stream, training=replace(TRAINING, epochs=1)).records.values()
    assert memory_needed(method, NET, stream, TRAINING) == max(found.memory_bytes)


def test_a_memory_that_is_too_small_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need = memory_needed(Replay(buffer_size=50), NET, toy_stream("domain"), TRAINING)
    assert record(Replay(buffer_size=50), Budget(memory=need)).complete
    with pytest.raises(MethodError, match=f"{need:,} bytes"):
        record(Replay(buffer_size=50), Budget(memory=need - 1))
    run = ["run", "--stream", "split", "--stream.source", "digits", "--net.hidden", "16", "--method", "finetune,replay"]
    assert main([*run, "--budget-memory", "2kB", "--out", str(tmp_path / "run")]) == 2
    assert "replay would keep" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "make", [Finetune, lambda: EWC(fisher_examples=20), lambda: GEM(buffer_size=20), lambda: Replay(buffer_size=30)]
)
def test_compute_is_cut_and_never_gone_beyond(make: Callable[[], Method]) -> None:
    free = record(make())
    for budget in (passes(free) // 2, passes(free) // 3):
        cut = record(make(), Budget(compute=budget))
        assert 0.9 * budget < passes(cut) <= budget
        assert all(0 < s <= 1 for s in cut.share[1:])  # GEM's first task has no past that costs
        assert cut.share[-1] < 1
    enough = record(make(), Budget(compute=2 * passes(free)))
    assert (enough.accuracy, enough.share[1:]) == (free.accuracy, [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("method", "scenario"),
    [
        (LwF(), "class"),
        (chain(Replay(20), LwF()), "class"),
        (ICaRL(20), "class"),
        (GenerativeReplay(hidden=(8,), code=5), "class"),
        (GenerativeReplay(hidden=(8,), code=5, generator="wgan-gp"), "class"),
    ],
    ids=["lwf", "chain", "icarl", "vae", "wgan-gp"],
)
def test_passes_through_other_networks_are_counted(method: Method, scenario: Scenario) -> None:
    """Held to a hook at every network; the two halves of an autoencoder (code 5) are one."""
    stream = toy_stream(scenario, examples=48)
    learner = toy_learner(method, stream, TRAINING)
    counted = 0

    def passed(module: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal counted
        if isinstance(module, nn.Sequential) and module[-1].out_features != 2 * 5:
            counted += len(inputs[0])

    hook = nn.modules.module.register_module_forward_pre_hook(passed)  # type: ignore[arg-type]
    try:
        for task in stream.tasks[:2]:
            learner.learn(task)
    finally:
        hook.remove()
    assert learner.costs.forward == counted - 2  # two ask how many outputs there are
    assert learner.costs.backward > 2 * 4 * 48 or isinstance(method, LwF | ICaRL)


def test_gates_and_experts_are_counted() -> None:
    stream = toy_stream("domain", examples=48)
    learner = toy_learner(ExpertGate(code=4, gate_epochs=3, threshold=-1e9), stream, TRAINING)
    for task, forward in zip(
        stream, (4 * 48 + 3 * 44 + 4, 2 * 4 * 48 + 3 * 44 + 2 * 4)
    ):  # a tenth is held out; task 2 has a teacher
        before = learner.costs.forward, learner.costs.backward
        learner.learn(task)
        assert (learner.costs.forward - before[0], learner.costs.backward - before[1]) == (forward, 4 * 48 + 3 * 44)


@pytest.mark.parametrize("budget", range(1000, 1100, 9))
def test_a_last_batch_that_is_smaller_says_nothing_of_the_next(budget: int) -> None:
    assert passes(record(Replay(buffer_size=30), Budget(compute=budget), examples=49)) <= budget


def test_each_task_has_its_share() -> None:
    budget = 900
    found = record(Finetune(), Budget(compute=budget))
    assert [f + b for f, b in zip(found.forward, found.backward)] == [0, 288, 288, 320]  # 9, 9 and 10 steps of 2 × 16


def test_what_cannot_be_cut_is_an_error() -> None:
    with pytest.raises(RunError, match="cannot be cut"):
        record(EWC(), Budget(compute=600))  # its Fisher takes more
    with pytest.raises(MethodError, match="one step in each"):
        record(Finetune(), Budget(compute=60))


def test_a_run_under_a_budget_that_is_stopped_goes_on_to_the_same(tmp_path: Path) -> None:
    stream, ends = toy_stream("domain"), []
    for stops in (False, True):
        store, learner = Store(tmp_path / str(stops)), None
        for _ in range(40):
            learner = learner_for(GEM(buffer_size=20), NET, stream, TRAINING, 0)
            calls = 0

            def stop() -> bool:
                nonlocal calls
                calls += 1
                return stops and calls == 2  # noqa: B023 (called within this turn)

            try:
                found = follow(learner, stream, store, RunSpec(every=0, budget_compute=2500), stop=stop)
                break
            except KeyboardInterrupt:
                continue
        assert learner is not None
        ends.append((weights(learner.net), found.accuracy, found.share[1:], found.forward))
    assert same(ends[0][0], ends[1][0])
    assert str(ends[0][1:]) == str(ends[1][1:])
    assert ends[0][2][-1] < 1


def test_amounts() -> None:
    assert [amount(s, "x") for s in ("50000", "2e6", "2M", "64kB", 7, None, "1.5G")] == [
        *(50000, 2 * 10**6, 2 * 10**6, 64000, 7, None, 1500 * 10**6)
    ]
    with pytest.raises(MethodError, match="64kB"):
        amount("much", "x")


def test_runs_at_equal_cost_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "--stream", "split", "--stream.source", "digits", "--stream.tasks", "2", "--net.hidden", "16"]
    run += ["--threads", "1", "--batch_size", "32"]
    a, b = tmp_path / "a", tmp_path / "b"
    assert main([*run, "--method", "finetune,gem", "--epochs", "3", "--budget-compute", "3k", "--out", str(a)]) == 0
    assert "part of its steps" in capsys.readouterr().out
    assert main([*run, "--method", "finetune", "--epochs", "2", "--seeds", "2", "--out", str(b)]) == 0
    capsys.readouterr()
    out = tmp_path / "compared"
    assert main(["compare", str(a), str(b), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "the runs differ in epochs: a 3; b 2" in said
    assert "the runs differ in seeds: a 0; b 0,1" in said
    assert "the runs differ in budget_compute: a 3000; b default" in said
    assert "the runs differ in net" not in said
    page = (out / "compare.html").read_text()
    assert "the runs differ in epochs" in page
    assert "Accuracy for compute" in page
    assert {"compute.png", "memory.png"} <= {p.name for p in (out / "figures").iterdir()}
    assert main(["compare", str(a), str(b), "--budget-compute", "3k", "--budget-memory", "1kB"]) == 0
    said = capsys.readouterr().out
    assert "gem is left out, over the budget: memory" in said
    assert "b/finetune is left out, over the budget: compute" in said
    assert main(["compare", str(b), "--budget-compute", "10"]) == 1
    assert json.loads((a / "summary.json").read_text())["methods"].keys() == {"finetune", "gem"}
