"""`Learner.save`: what somebody's own calls have learnt is taken by the commands as any run is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lifelong import EWC, MLP, DataError, Learner, Method, MethodError, Replay, RunError, Stream, Training, turning
from lifelong.cli import main
from lifelong.core import code
from lifelong.runs.checkpoint import Store
from lifelong.runs.load_run import load_run
from lifelong.runs.spec import Permission

STREAM = turning(tasks=3, examples=200)
TRAINING = Training(lr=0.05, batch_size=20)
NAMED = ["--net", "./nets.py:make"]
PERMITTED = Permission(named={"net": "./nets.py:make"})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets.py").write_text(
        "from lifelong import MLP\n\n\ndef make(shape, outputs):\n    return MLP((8,))(shape, outputs)\n"
    )
    monkeypatch.chdir(tmp_path)


def learner(method: Method | None = None, stream: Stream = STREAM) -> Learner:
    torch.manual_seed(0)
    net = MLP((8,))(stream.shape, stream.outputs)
    return Learner(net, method or EWC(10.0), TRAINING, scenario=stream.scenario, grows=not stream.announced)


def test_the_commands_take_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Exported, gated, compared, reported; and gone on with to the bits of learning on."""
    for method in (EWC(10.0), Replay(50)):
        one = learner(method)
        one.save("run", STREAM)
        for task in STREAM.tasks[:2]:
            one.learn(task)
            one.save("run", STREAM)
    assert main(["export", "run", "--out", "e"]) == 2
    assert "the net has no name" in capsys.readouterr().err
    assert main(["export", "run", "--out", "e", *NAMED]) == 0
    assert main(["gate", "--old", "run", "--new", "run", *NAMED]) == 0
    assert main(["compare", "run"]) == 0
    assert main(["report", "run"]) == 0
    assert main(["resume", "run", *NAMED]) == 0
    one.learn(STREAM[2])
    found = load_run(Path("run"), "replay", permission=PERMITTED)
    assert all(torch.equal(a, b) for a, b in zip(found.learner.net.parameters(), one.net.parameters()))
    assert found.record.accuracy[3] == [accuracy for accuracy, _, _ in one.evaluate(STREAM)]
    assert not any(math.isnan(a) for row in found.record.accuracy for a in row)


def test_a_row_that_nobody_measured_stays_empty() -> None:
    one = learner()
    for task in STREAM.tasks[:2]:
        one.learn(task)
    one.save("run", STREAM)
    found = load_run(Path("run"), permission=PERMITTED)
    assert [math.isnan(row[0]) for row in found.record.accuracy] == [True, True, False]
    assert sum(found.record.forward) == one.costs.forward


def test_the_row_of_now_is_that_of_the_weights_of_now() -> None:
    one = learner()
    one.learn(STREAM[0])
    one.save("run", STREAM)
    with torch.no_grad():
        for p in one.net.parameters():
            p.neg_()
    one.save("run", STREAM)
    found = load_run(Path("run"), permission=PERMITTED)
    assert found.record.accuracy[1] == [accuracy for accuracy, _, _ in found.learner.evaluate(STREAM)]
    assert found.record.rows == 2
    again = learner()
    saved = Store(Path("run/checkpoint/ewc/0")).newest()
    assert saved is not None
    again.load_state_dict(saved)
    again.learn(STREAM[1])
    again.save("run", STREAM)
    assert load_run(Path("run"), permission=PERMITTED).record.rows == 3


def test_it_is_saved_within_a_task() -> None:
    stream = turning(tasks=3, examples=2100)
    one = learner(stream=stream)
    one.learn(stream[0])
    next(iter(one.steps(stream[1])))
    one.save("run", stream)
    assert main(["resume", "run", *NAMED]) == 0
    for task in stream.tasks[1:]:
        one.learn(task)
    found = load_run(Path("run"), permission=PERMITTED)
    assert all(torch.equal(a, b) for a, b in zip(found.learner.net.parameters(), one.net.parameters()))


def _optimizer() -> None:
    Learner(MLP((8,))((2,), 2), optimizer=lambda net: torch.optim.Adam(net.parameters()), scenario="domain").save(
        "r", STREAM
    )


def _scenario() -> None:
    Learner(MLP((8,))((2,), 2), scenario="class").save("r", STREAM)


def _grows() -> None:
    Learner(MLP((8,))((2,), 2), scenario="class", grows=True).save("r", turning(tasks=3, examples=200))


def _shorter() -> None:
    one = learner()
    for task in STREAM.tasks[:2]:
        one.learn(task)
    one.save("r", STREAM.subset([0]))


def _other_run() -> None:
    learner().save("r", STREAM)
    learner().save("r", turning(tasks=2, examples=100))


def _again() -> None:
    """As a script that is run twice does."""
    for _ in range(2):
        one = learner()
        one.learn(STREAM[0])
        one.save("r", STREAM)


def _less() -> None:
    one = learner()
    one.learn(STREAM[0])
    start = one.state_dict()
    one.learn(STREAM[1])
    one.save("r", STREAM)
    one.load_state_dict({**start, "meta": {**start["meta"], "saved_as": one.saved_as}})
    one.save("r", STREAM)


def _others() -> None:
    one = learner()
    one.learn(STREAM[2])
    one.save("r", STREAM)


def _by_steps() -> None:
    one = learner()
    one.step(STREAM[0].train.x[:16], STREAM[0].train.y[:16])  # type: ignore[attr-defined]
    one.save("r", STREAM)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (_optimizer, MethodError, "an optimizer that was given in Python"),
        (_scenario, MethodError, "scenario is 'class', the stream's 'domain'"),
        (_grows, MethodError, "scenario is 'class'"),
        (_shorter, DataError, "has learnt 2 tasks, the stream has 1"),
        (_other_run, RunError, "holds a run of another specification"),
        (_again, RunError, "holds another learner"),
        (_less, RunError, "has learnt 2 tasks, and this one has learnt 1"),
        (_others, DataError, "task 1 of the stream is"),
        (_by_steps, DataError, "task 1 of the stream is"),
    ],
)
def test_what_cannot_be_saved_is_refused(wrong: Callable[[], None], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_a_network_that_has_grown() -> None:
    """Its outputs came with the classes: it is told by what it was before."""
    Path("growing.py").write_text(
        "import torch\nfrom lifelong import stream_of\n\n\ndef make():\n    g = torch.Generator().manual_seed(1)\n"
        "    return stream_of([(torch.randn(40, 2, generator=g), torch.arange(40) % 2 + 2 * t) for t in range(3)], announced=False)\n"
    )
    stream = code.load("./growing.py:make")()
    one = learner(Replay(20), stream)
    for task in stream.tasks[:2]:
        one.learn(task)
    one.save("run", stream)
    assert main(["resume", "run", *NAMED, "--stream", "./growing.py:make"]) == 0
    one.learn(stream[2])
    found = load_run(Path("run"), permission=Permission(named={**PERMITTED.named, "stream": "./growing.py:make"}))
    assert all(torch.equal(a, b) for a, b in zip(found.learner.net.parameters(), one.net.parameters()))
