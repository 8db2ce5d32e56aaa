"""What people wanted of runs and commands: each test is one situation, named by what was wanted."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lifelong.runs.fitting
import lifelong.runs.stream_loop
from lifelong import MLP, Finetune, Training, fit, permuted
from lifelong.cli import main
from lifelong.core.errors import DataError, LifelongWarning, MethodError, RunError, warn
from lifelong.core.progress import doing
from lifelong.core.warnings_heard import heard
from lifelong.runs.executor import Local
from lifelong.runs.jobs import Message, begun_with, execute
from lifelong.runs.load_run import load_run
from lifelong.runs.progress_bars import Progress
from lifelong.runs.run import Job
from lifelong.runs.spec import RunSpec
from lifelong.streams.features import kept
from toys import warned_of

SMALL = {
    **{"stream": "permuted", "stream.source": "digits", "stream.tasks": 2, "stream.examples": 60},
    **{"stream.test_examples": 40, "net.hidden": (8,), "epochs": 1, "batch_size": 16, "lr": 0.1, "threads": 1},
}
FLAGS = [f"--{key}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in SMALL.items()]


def stream(seed: int = 0) -> Any:
    return permuted("digits", tasks=2, examples=60, test_examples=40, seed=seed)


def measured(run: Any) -> dict[Job, list[list[float]]]:
    return {job: record.accuracy for job, record in run.records.items()}


# --- the seed of a stream ------------------------------------------------------------------------------------------------
def test_the_same_experiment_on_the_command_line_and_in_python(tmp_path: Path) -> None:
    """Of the same seeds the same numbers, whether the stream's seed is left out, is 0, or each run's own."""
    training = Training(lr=0.1, momentum=0.9, clip=1.0, epochs=1, batch_size=16)
    found = {}
    for name, said in (("omitted", {}), ("0", {"stream.seed": 0}), ("each", {"stream.seed": "each"})):
        run, failed = execute(RunSpec.from_keys({**SMALL, **said, "seeds": 2}), tmp_path / name)
        assert not failed
        found[name] = measured(run)
        config = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        asked = "each" if name == "each" else 0
        assert config["stream"]["seed"] == manifest["notes"]["stream_seed"] == summary["notes"]["stream_seed"] == asked
    assert found["omitted"] == found["0"]
    assert found["omitted"] != found["each"]
    fixed = fit(Finetune(), MLP((8,)), stream(), seeds=2, training=training)
    drawn = fit(Finetune(), MLP((8,)), stream, seeds=2, training=training, out=tmp_path / "python")
    assert (measured(fixed), measured(drawn)) == (found["0"], found["each"])
    assert (fixed.notes["stream_seed"], drawn.notes["stream_seed"]) == (0, "each")
    again = fit(Finetune(), MLP((8,)), stream, seeds=3, training=training, out=tmp_path / "python")
    assert {job: R for job, R in measured(again).items() if job.seed < 2} == found["each"]
    with pytest.raises(RunError, match="its data are others"):
        fit(Finetune(), MLP((8,)), stream(), seeds=2, training=training, out=tmp_path / "python")


def test_a_stream_that_is_none() -> None:
    for wrong, said in ((3, "expected a Stream, such as permuted"), (lambda seed: seed, "of the seed 0 it makes 0")):
        with pytest.raises(DataError, match=said):
            fit(Finetune(), MLP((8,)), wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"of the seed 1 it has 1 tasks .*, of the seed 0 2"):
        fit(Finetune(), MLP((8,)), lambda seed: stream().subset(range(2 - seed)), seeds=2)


def test_a_run_whose_stream_followed_the_seeds_without_saying_so(tmp_path: Path) -> None:
    """As it was before the seed of a stream was part of every configuration: it is not gone on with on other data."""
    execute(RunSpec.from_keys({**SMALL, "stream.seed": "each", "seeds": "1,2"}), tmp_path / "old")
    file = tmp_path / "old" / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    del tree["stream"]["seed"]
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(RunError, match=r"its data are others \(the training examples of task 1\)"):
        load_run(tmp_path / "old")
    before = (tmp_path / "old" / "results.csv").read_text()
    _, failed = execute(RunSpec.load(file), tmp_path / "old", again=True)
    assert ["its data are others" in message.text for message in failed] == [True, True]
    assert (tmp_path / "old" / "results.csv").read_text() == before


@pytest.mark.parametrize("word", ["every", "1.5", "-"])
def test_a_seed_of_a_stream_that_is_none(word: str) -> None:
    with pytest.raises(MethodError, match=r"stream.seed .*: expected a whole number or each"):
        RunSpec.from_keys({**SMALL, "stream.seed": word})


def test_orders_of_streams_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["order", *FLAGS, "--stream.seed", "each", "--out", str(tmp_path / "order")]) == 2
    assert "order learns one stream in several orders" in capsys.readouterr().err


# --- reports, and going on -----------------------------------------------------------------------------------------------
def test_a_report_of_what_python_has_learnt(tmp_path: Path) -> None:
    fit(Finetune(), MLP((8,)), stream(), training=Training(epochs=1), out=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "finetune" in page
    fit(Finetune(), MLP((8,)), stream(), seeds=[5], training=Training(epochs=1), out=tmp_path / "run")
    assert (tmp_path / "run" / "report.html").read_text() != page


def test_going_on_with_as_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lifelong.cli import resume as cli

    out = tmp_path / "run"
    execute(RunSpec.from_keys(SMALL), out, Local(2))
    assert begun_with(out) == {"name": "local", "jobs": 2}
    started = json.loads((out / "events.jsonl").read_text().splitlines()[0])
    assert (started["event"], started["jobs"]) == ("started", 2)
    asked: list[Any] = []

    def note(config: Any, folder: Path, engine: Any, again: bool) -> int:
        asked.append(engine)
        return 0

    monkeypatch.setattr(cli, "execute", note)
    for flags in ([], ["--jobs", "3"], ["--engine", "local"], ["--engine", "ray"]):
        assert main(["resume", str(out), *flags]) == 0
    ray = asked.pop()
    assert asked == [Local(2), Local(3), Local(2)]
    assert (ray.address, ray.jobs) == ("auto", None)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["engine"] = {"name": "ray", "address": "there:6379", "jobs": None, "threads": 1}
    (out / "manifest.json").write_text(json.dumps(manifest))
    for flags in ([], ["--jobs", "3"], ["--engine", "local", "--jobs", "4"]):
        assert main(["resume", str(out), *flags]) == 0
    assert [(e.address, e.jobs) for e in asked[3:5]] == [("there:6379", None), ("there:6379", 3)]
    assert asked[5] == Local(4)
    for damaged in ("{", "[]", '{"engine": 3}', '{"engine": {"name": "local", "jobs": "many"}}'):
        (out / "manifest.json").write_text(damaged)
        assert main(["resume", str(out)]) == 0
        assert asked[-1] == Local(1)


# --- what is said meanwhile ----------------------------------------------------------------------------------------------
def wait(said: Any) -> None:
    end = time.monotonic() + 60
    while not said() and time.monotonic() < end:
        time.sleep(0.01)


def test_features_take_minutes_and_stderr_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    said: list[str] = []
    monkeypatch.setattr("lifelong.core.progress.say", said.append)
    monkeypatch.setattr("lifelong.core.progress.EVERY", 0.02)

    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wait(lambda: said)
            return x.flatten(1)

    made = kept(stream(), Slow())
    assert made.shape == (64,)
    assert said[0].startswith("features: 0 of 200 examples, ")
    assert not [t for t in threading.enumerate() if t.name == "doing" and not t.daemon]


def test_a_command_that_works_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several things that are done, one within the other, it is the innermost that is said; and what is said puts the next line off."""
    said: list[str] = []
    monkeypatch.setattr("lifelong.core.progress.EVERY", 0.02)
    monkeypatch.setattr("lifelong.core.progress.say", said.append)
    with doing(lambda: "the whole"):
        wait(lambda: "the whole" in said)
        with doing(lambda: "a part"):
            wait(lambda: "a part" in said)
        before = said.count("the whole")
        wait(lambda: said.count("the whole") > before)
    assert {"the whole", "a part"} == set(said)
    said.clear()
    monkeypatch.setattr("lifelong.core.progress.EVERY", 1e6)
    with doing(lambda: "the whole"):
        pass
    assert not said


def test_where_a_run_stands_between_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = Job("ewc", 0), Job("ewc", 1)
    with Progress(2, 5) as progress:
        assert progress.state().startswith("at work, 0 s")
        for message in (Message("began", one), Message("step", one, 1, 30, 100), Message("step", other, 2, 100, 100)):
            progress(message)
        assert progress.state().startswith(
            "ewc seed 0: task 2/5, step 30/100; ewc seed 1: task 3/5, step 100/100, its end, "
        )
        progress(Message("task", one, 1, accuracy=(1.0,)))
        progress(Message("done", other))
        assert progress.state().startswith("ewc seed 0: task 3/5, ")
    assert "ewc seed 0: task 2/5 learnt" in capsys.readouterr().err


# --- warnings ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def warning_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that warn, each of the same and of something of its own."""
    real = lifelong.runs.stream_loop.follow

    def follow(learner: Any, *given: Any, **more: Any) -> Any:
        for _ in range(2):
            warn("weights outside the optimizer are not held")
            warn(f"seed {learner.seed} is odd" if learner.seed % 2 else "weights outside the optimizer are not held")
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
        return real(learner, *given, **more)

    for module in (lifelong.runs.fitting, lifelong.runs.stream_loop):  # of `fit`, and of a command
        monkeypatch.setattr(module, "follow", follow)


@pytest.mark.usefixtures("warning_run")
def test_a_command_prints_a_warning_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert main(["run", *FLAGS, "--seeds", "3", "--out", str(out)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line.lower()]
    assert lines.count("lifelong: warning: weights outside the optimizer are not held") == 1
    assert lines.count("lifelong: warning: seed 1 is odd") == 1
    assert {str(w.message) for w in caught} == {"somebody else's"}  # shown as ever
    texts = ["weights outside the optimizer are not held", "seed 1 is odd"]
    assert json.loads((out / "summary.json").read_text())["warnings"] == texts
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    told = [(e["warning"], e["method"], e["seed"]) for e in events if e["event"] == "warned"]
    assert told == [(texts[0], "finetune", 0), (texts[1], "finetune", 1)]


@pytest.mark.usefixtures("warning_run")
def test_a_run_in_python_warns_as_python_does(tmp_path: Path) -> None:
    config, heard_of = RunSpec.from_keys({**SMALL, "seeds": 2}), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        run, _ = execute(config, tmp_path / "run", tell=heard_of.append)
    own = [str(w.message) for w in caught if w.category is LifelongWarning]
    assert own == run.warnings == ["weights outside the optimizer are not held", "seed 1 is odd"]
    assert [m.text for m in heard_of if m.kind == "warned"] == own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again, _ = execute(config, tmp_path / "run", again=True)
    assert again.warnings == own  # they are the run's


@pytest.mark.usefixtures("warning_run")
def test_a_run_of_several_seeds_warns_once(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        run = fit(Finetune(), MLP((8,)), stream(), seeds=3, training=Training(epochs=1), out=tmp_path / "run")
    own = [w for w in caught if w.category is LifelongWarning]
    assert (
        [str(w.message) for w in own] == run.warnings == ["weights outside the optimizer are not held", "seed 1 is odd"]
    )
    assert {w.filename for w in own} == {__file__}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["warnings"] == run.warnings


def test_a_warning_from_another_process() -> None:
    with pytest.warns(LifelongWarning) as caught:
        assert sorted(Local(2).each(warned_of, [("a",), ("b",), ("a",)])) == [(0, "a"), (1, "b"), (2, "a")]
    assert {str(w.message) for w in caught} == {"a", "b"}
    with pytest.warns(LifelongWarning, match="a"):
        list(Local(1).each(warned_of, [("a",)]))


def test_warnings_of_others_are_shown_as_python_shows_them() -> None:
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        with heard(told.append):
            warnings.warn("somebody else's", UserWarning, stacklevel=1)
            warn("ours")
            warn("ours")
    assert told == ["ours"]
    assert [str(w.message) for w in caught] == ["somebody else's"]
    shown = warnings.showwarning
    with contextlib.suppress(ValueError), heard(told.append):
        raise ValueError
    assert warnings.showwarning is shown
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the user's filters are kept
        with pytest.raises(LifelongWarning, match="ours"), heard(told.append):
            warn("ours")
    with pytest.warns(LifelongWarning, match="said again"), heard(lambda text: warn("said again")):
        warn("ours")
