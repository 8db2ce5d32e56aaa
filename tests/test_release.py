"""What is exported answers as the run did; reading it runs nothing; what was tampered with is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import random
import runpy
import shutil
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save
from torch import Tensor

from lifelong.cli import main
from lifelong.config import Config
from lifelong.errors import DataError, MethodError, RunError
from lifelong.fitting import follow, learner_for
from lifelong.jobs import execute
from lifelong.recall import Recalled, recall
from lifelong.registry import METHODS
from lifelong.release import Predictor, export, load
from lifelong.release.export import reader
from lifelong.release.inputs import answers_csv, read_inputs
from lifelong.release.predictor import without_folders
from lifelong.release.programs import program
from lifelong.release.sealed import TENSORS, Files
from lifelong.run import Job

ROOT = Path(__file__).parents[1]
SMALL = {"stream": "split", "stream.source": "digits", "stream.tasks": 3, "net.hidden": "16", "epochs": 1}
ANSWERING = {name: e.load()().scenarios for name, e in METHODS.items() if "predict" in e.load()().acts}
# every method of the registry that answers by itself, and what the network answers for
CASES = [("class", "finetune"), ("task", "finetune"), ("class", "ewc+grow")]
CASES += [
    (s, m) for m, known in ANSWERING.items() for s in known if s != "domain" and (s, m) != ("class", "independent")
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for scenario in ("class", "task"):
        made[scenario] = tmp_path_factory.mktemp("runs") / scenario
        config = {**SMALL, "scenario": scenario, "method": ",".join(m for s, m in CASES if s == scenario)}
        config |= {"expert_gate.gate_epochs": 1, "expert_gate.code": 8, "stream.examples": 600}
        if scenario == "class":
            config["grow.threshold"] = 0.99
        execute(Config.from_keys(config), made[scenario])
    return made


@pytest.fixture(scope="module")
def exported(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of iCaRL, whose state is small and has tensors."""
    return export(runs["class"], tmp_path_factory.mktemp("exports") / "icarl", method="icarl").folder


# --- what is exported answers as the run did ---------------------------------------------------------------------------
@pytest.mark.parametrize(("scenario", "method"), CASES)
def test_safetensors_answer_bit_for_bit(scenario: str, method: str, runs: dict[str, Path], tmp_path: Path) -> None:
    done = export(runs[scenario], tmp_path / "out", method=method)
    assert (done.difference, done.inputs) == (0.0, 3 * 33)
    found, predictor = recall(runs[scenario], method), load(tmp_path / "out")
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
    found = recall(runs[scenario], method)
    for task in found.stream:
        x = next(task.test.all(37)).x
        truth = found.learner.scores(x, task)
        own = scores(x, task.index if scenario == "task" else None)
        torch.testing.assert_close(own, truth, rtol=1e-4, atol=1e-4)
    if about.needs_task:
        with pytest.raises(MethodError, match="needs the task"):
            scores(x, None)


def test_a_program_of_mixed_tasks(runs: dict[str, Path]) -> None:
    """In one batch each input may be of another task."""
    found = recall(runs["task"], "progressive")
    predictor = Predictor.of(found)
    x = torch.cat([next(t.test.all(2)).x for t in found.stream])
    task = torch.tensor([0, 0, 1, 1, 2, 2])
    truth = torch.cat([found.learner.scores(x[2 * k : 2 * k + 2], found.stream[k]) for k in range(3)])
    torch.testing.assert_close(predictor(x, task), truth)
    assert all(name.startswith(("net.", "state_")) for name in predictor.state_dict())


def test_state_lies_in_buffers(runs: dict[str, Path]) -> None:
    """An ordinary module: what `predict` reads follows `to`, and no training example is carried along where none is needed."""
    predictor = Predictor.of(recall(runs["class"], "icarl"))
    held = {n: b.shape for n, b in predictor.named_buffers() if n.startswith("state_")}
    assert (10, 16) in held.values()  # the means
    assert not any(s[-2:] == (8, 8) for s in held.values())
    assert predictor.double().state.means.dtype == torch.float64


def test_what_is_not_learnt_does_not_compete() -> None:
    config = Config.from_keys({**SMALL, "method": "finetune"})
    stream = config.build_stream(0)
    learner = learner_for(config.build_method("finetune"), config.build_net(), stream, config.build_training(), 0)
    record = follow(learner, stream.subset([0]))
    found = Recalled(config, Job("finetune", 0), stream, learner, record)
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

    about = Predictor.of(recall(runs["class"], "finetune")).about
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
    execute(Config.from_keys(keys), folder / "run")
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
        assert dict(files.opened) == {TENSORS: 1}
        assert len([n for n in files.seals if n.startswith("nets")]) == tasks
        held = sum(b.numel() for b in predictor.buffers()) + sum(p.numel() for p in predictor.parameters())
        alive.clear()
        most = 0
        files.opened.clear()
        predictor.scores(torch.rand(1, 8, 8))
        assert sum(k for n, k in files.opened.items() if n.startswith("nets")) == 1
        assert sum(k for n, k in files.opened.items() if n.startswith("gates")) == tasks
        peaks.append((most, held - 10 * tasks - tasks * (tasks - 1) // 2))  # less each task's outputs and relatedness
    assert peaks[0] == peaks[1]
    predictor = load(experts(tmp_path / "known", 3, "task"))
    files = predictor.state.nets.files
    files.opened.clear()
    predictor.scores(torch.rand(5, 8, 8), 1)
    assert dict(files.opened) == {"nets-001.safetensors": 1}


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


# --- answers -----------------------------------------------------------------------------------------------------------
def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_is_answered(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in ("class", "task"):
        found = recall(runs[scenario], "finetune")
        out = str(export(runs[scenario], tmp_path / scenario, method="finetune").folder)
        lines, truth = [",".join(["task", *(f"p{i}" for i in range(64)), "label", "id"])], []
        for task in found.stream:
            chunk = next(task.test.all(5))
            scores = found.learner.scores(chunk.x, task)
            for i, (x, y) in enumerate(zip(chunk.x.flatten(1).tolist(), chunk.y.tolist())):
                name = f"{task.index}-{i}"
                lines.append(",".join([task.name, *map(str, x), found.stream.class_names[y], name]))
                p = scores[i].softmax(0)
                truth.append((name, found.stream.class_names[int(p.argmax())], float(p.max())))
        given = tmp_path / "rows.csv"
        given.write_text("\n".join(lines) + "\n")
        assert main(["predict", out, str(given), "--out", str(tmp_path / "answers.csv")]) == 0
        text = (tmp_path / "answers.csv").read_text()
        assert text.splitlines()[0] == "id,answer,probability,task,label"
        assert [(r["id"], r["answer"]) for r in rows(text)] == [(n, a) for n, a, _ in truth]
        assert [float(r["probability"]) for r in rows(text)] == pytest.approx([p for _, _, p in truth], abs=1e-5)
        assert main(["gate", "--old", str(tmp_path / "answers.csv"), "--new", str(tmp_path / "answers.csv")]) == 0
    capsys.readouterr()
    bare = tmp_path / "bare.csv"
    bare.write_text(",".join(["0"] * 64) + "\n")
    assert main(["predict", out, str(bare)]) == 2
    assert "needs the task of its inputs (--task" in capsys.readouterr().err
    assert main(["predict", out, str(bare), "--task", "9"]) == 1
    assert "no task '9'" in capsys.readouterr().err
    assert main(["predict", out, str(bare), "--task", "2"]) == 0
    [row] = rows(capsys.readouterr().out)
    assert row["answer"] in [found.stream.class_names[c] for c in found.stream[1].classes]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to answer"),
        ("1,2,3\n", "line 1: 3 columns of inputs, expected 64"),
        (",".join(["0"] * 64) + "\n" + ",".join(["0"] * 63) + "\n", "line 2: 63 cells, expected 64"),
        (",".join(["0"] * 64) + "\n" + ",".join(["x"] * 64) + "\n", "line 2: expected numbers"),
        (",".join(["nan"] * 64) + "\n", "line 1: a number is NaN"),
        ('"', "line 1: no CSV"),
    ],
)
def test_rows_that_are_wrong(text: str, message: str, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    about, scores = reader(exported)
    with pytest.raises(DataError, match=message):
        answers_csv(about, scores, read_inputs(about, str(tmp_path / "rows.csv")))


def test_images_are_answered(runs: dict[str, Path], exported: Path, tmp_path: Path) -> None:
    from PIL import Image

    found = recall(runs["class"], "icarl")
    x = next(found.stream[0].test.all(6)).x
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pixels = (x * 255).round().to(torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(folder / ("deep" if i > 3 else ".") / f"{i}.png")
    about, scores = reader(exported)
    answered = rows(answers_csv(about, scores, read_inputs(about, str(folder))))
    truth = [found.stream.class_names[c] for c in found.learner.scores(pixels).argmax(1).tolist()]
    assert {Path(r["id"]).stem: r["answer"] for r in answered} == {str(i): a for i, a in enumerate(truth)}
    one = folder / "0.png"
    assert rows(answers_csv(about, scores, read_inputs(about, str(one))))[0]["answer"] == truth[0]
    Image.new("RGB", (20, 30), (9, 9, 9)).save(one)
    with pytest.raises(DataError, match=r"0.png has 30 × 20 pixels, the predictor takes 8 × 8: --resize"):
        answers_csv(about, scores, read_inputs(about, str(one)))
    assert rows(answers_csv(about, scores, read_inputs(about, str(one), resize=True)))
    one.write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match="is not an image"):
        answers_csv(about, scores, read_inputs(about, str(one)))
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(one, compress_level=9)  # 80 kB that unpack to 81 MB
    with pytest.raises(DataError, match="more than 50000000"):
        answers_csv(about, scores, read_inputs(about, str(one), resize=True))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images in"):
        answers_csv(about, scores, read_inputs(about, str(tmp_path / "none")))


def test_sentences_are_answered(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    keys = {
        "stream": "clinc150",
        "scenario": "class",
        "stream.examples": 45,
        "stream.test_examples": 15,
        "net.hidden": "8",
        "epochs": 1,
    }
    execute(Config.from_keys(keys), tmp_path / "run")
    found, out = recall(tmp_path / "run"), export(tmp_path / "run", tmp_path / "out").folder
    intents = ("freeze_account", "translate", "weather")
    data = json.loads((real_data / "clinc150" / "data_full.json").read_text())
    said = [next(s for s, i in data["test"] if i == intent) for intent in intents]
    (tmp_path / "said.txt").write_text("\n\n".join(said))
    monkeypatch.delenv("LIFELONG_DATA")  # the export knows its words itself
    about, scores = reader(out)
    answered = rows(answers_csv(about, scores, read_inputs(about, str(tmp_path / "said.txt"))))
    assert [r["id"] for r in answered] == ["1", "3", "5"]
    names = found.stream.class_names
    for row, intent in zip(answered, intents):
        task = next(t for t in found.stream if names.index(intent) in t.classes)
        index = torch.tensor([task.classes.index(names.index(intent))])  # one test sentence an intent
        p = found.learner.scores(next(task.test.chunks(index, 1)).x)[0].softmax(0)
        assert row["answer"] == names[int(p.argmax())]
        assert float(row["probability"]) == pytest.approx(float(p.max()), abs=1e-5)
    (tmp_path / "empty.txt").write_text("\n \n")
    for source, message in (
        (tmp_path / "empty.txt", "is empty: expected a sentence"),
        (tmp_path, "takes text, a sentence a line"),
    ):
        with pytest.raises(DataError, match=message):
            answers_csv(about, scores, read_inputs(about, str(source)))


def test_stories_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {
        "stream": "babi",
        "stream.tasks": "1",
        "stream.examples": 100,
        "stream.test_examples": 20,
        "stream.memory": 6,
        "epochs": 1,
    }
    execute(Config.from_keys(keys), tmp_path / "run")
    found, out = recall(tmp_path / "run"), export(tmp_path / "run", tmp_path / "out").folder
    words = found.stream.class_names
    x = next(found.stream[0].test.all(2)).x

    def story(i: int) -> list[str]:
        return [" ".join(words[w - 1] for w in line if w) for line in x[i].tolist() if any(line)]

    text = "\n".join(
        ["1 " + story(0)[0], *story(0)[1:-1], f"9 {story(0)[-1]}?\tthere\t1", "", *story(1)[:-1], story(1)[-1] + "?"]
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["predict", str(out), "-"]) == 0
    answered = rows(capsys.readouterr().out)
    p = found.learner.scores(x).softmax(1)
    assert [r["answer"] for r in answered] == [words[c] for c in p.argmax(1).tolist()]
    assert [float(r["probability"]) for r in answered] == pytest.approx(p.max(1).values.tolist(), abs=1e-5)
    about, scores = reader(out)
    for wrong, message in (
        ("Where is it?\n", "line 1: a question without a sentence"),
        (f"{story(0)[0]}\nWhere is Zaphod?\n", "line 2: .*not in the vocabulary"),
        (f"{story(0)[0]}\n", "has no question"),
    ):
        (tmp_path / "story.txt").write_text(wrong)
        with pytest.raises(DataError, match=message):
            answers_csv(about, scores, read_inputs(about, str(tmp_path / "story.txt")))


# --- what was tampered with --------------------------------------------------------------------------------------------
def forged(exported: Path, folder: Path, change: Callable[[dict[str, Any]], Any], **files: bytes) -> Path:
    """A copy with another description and other files, sealed as if it were whole: what a malicious maker sends."""
    shutil.copytree(exported, folder)
    said = json.loads((folder / "about.json").read_text())
    for name, content in files.items():
        name = name.replace("_", ".")
        (folder / name).write_bytes(content)
        said["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(said)
    (folder / "about.json").write_text(json.dumps(said))
    return folder


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Sets what the path but its last part leads to, to that."""

    def change(said: dict[str, Any]) -> None:
        *there, last, value = path
        at: Any = said
        for key in there:
            at = at[key]
        at[last] = value

    return change


BOMB = 10**12
SEAL = {"size": 1, "sha256": "0"}
FORGERIES = {
    "a path upwards": (put("files", "../x.safetensors", SEAL), "expected plain names"),
    "an absolute path": (put("files", "/etc/passwd", SEAL), "expected plain names"),
    "a folder": (put("files", "a/b", SEAL), "expected plain names"),
    "the folder above": (put("files", "..", SEAL), "expected plain names"),
    "a path of another system": (put("files", "..\\x", SEAL), "expected plain names"),
    "code for a network": (put("about", "net", "name", "os:system"), "no net called 'os:system'"),
    "code for a method": (put("about", "method", 0, "name", "builtins:exec"), "no method called"),
    "an option that is none": (put("about", "net", "options", {"__class__": "x"}), "does not fit"),
    "another network": (put("about", "net", "options", {"hidden": [17]}), "the network described has"),
    "a giant network": (put("about", "net", "options", {"hidden": [BOMB, BOMB]}), "does not fit"),
    "very many hops": (
        put("about", "net", {"name": "memory_network", "options": {"hops": BOMB}}),
        "more than the file has",
    ),
    "a network of very many layers": (put("about", "net", "options", {"hidden": [1] * 10**4}), "more layers than"),
    "a giant input": (put("about", "shape", [BOMB]), "does not fit"),
    "giant growth": (
        put("about", "growth", [{"kind": "wider", "layer": "1", "size": BOMB, "seed": 0, "noise": 0.0}]),
        "more growth than",
    ),
    "growth of a giant network": (
        lambda said: said["about"].update(
            net={"name": "mlp", "options": {"hidden": [1000, 1000]}},
            growth=[{"kind": "wider", "layer": "1", "size": 20, "seed": 0, "noise": 0.0}],
        ),
        "more weights than the file",
    ),
    "giant outputs": (
        put("about", "growth", [{"kind": "outputs", "layer": "", "size": BOMB, "seed": 0, "noise": 0.0}]),
        "more growth than",
    ),
    "endless growth": (
        put("about", "growth", [{"kind": "wider", "layer": "1", "size": 20, "seed": 0, "noise": 0.0}] * 1000),
        "more growth than",
    ),
    "a class that is none": (put("about", "seen", [99]), "contradicts itself"),
    "a number for a word": (put("about", "stream", 7), "about.stream: expected a word"),
    "one field more": (put("about", "run", "rm"), "expected the keys"),
    "a scenario that is none": (put("about", "scenario", "any"), "expected 'task' or 'domain' or 'class'"),
    "a method that does not answer": (put("about", "answers", "hat"), "does not answer"),
    "a state without tensors": (put("state", "means", {"tensor": "state/none"}), "does not fit"),
    "a state of another kind": (put("state", [1, 2, 3]), "does not fit"),
    "another version": (put("version", 2), "has the version '2'"),
    "another format": (put("format", "pickle"), "describes no export"),
    "no files": (put("files", {}), "does not belong to this export"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_forgeries_are_refused(what: str, exported: Path, tmp_path: Path) -> None:
    change, message = FORGERIES[what]
    with pytest.raises(RunError, match=message):
        load(forged(exported, tmp_path / "forged", change))


def test_files_that_are_no_tensors_are_refused(exported: Path, tmp_path: Path) -> None:
    held = tensors_of((exported / TENSORS).read_bytes())
    more = {k: v for k, v in held.items() if "means" not in k}
    longer = (2**40).to_bytes(8, "little") + b"{}"  # a header that claims a terabyte
    for i, (content, message) in enumerate(
        (
            (pickle.dumps([1]), "no file of tensors"),
            (longer, "no file of tensors"),
            (save(more), "does not fit"),
            (b"", "no file of tensors"),
        )
    ):
        with pytest.raises(RunError, match=message):
            load(forged(exported, tmp_path / str(i), lambda said: None, model_safetensors=content))
    folder = forged(exported, tmp_path / "long", lambda said: None)
    (folder / "about.json").write_bytes(b" " * (9 * 2**20))
    with pytest.raises(RunError, match="longer than"):
        load(folder)
    (folder / "about.json").write_text("[" * 10**6)
    with pytest.raises(RunError, match="no JSON"):
        load(folder)
    (folder / "about.json").unlink()
    (folder / "about.json").symlink_to(exported / "about.json")
    with pytest.raises(RunError, match="a link, which is not followed"):
        load(folder)
    with pytest.raises(RunError, match="is no export"):
        load(tmp_path)


def test_any_altered_byte_is_noticed(exported: Path, tmp_path: Path) -> None:
    """Of the tensors always; of the description where it matters: then an error of this library, never another."""
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    draws, predictor, x = random.Random(0), load(exported), torch.rand(4, 8, 8)
    for name, count in ((TENSORS, 40), ("about.json", 150)):
        whole = (folder / name).read_bytes()
        for _ in range(count):
            at = draws.randrange(len(whole))
            (folder / name).write_bytes(whole[:at] + bytes([draws.randrange(256)]) + whole[at + 1 :])
            try:
                found = load(folder).scores(x)
            except RunError:
                continue
            assert name == "about.json" or (folder / name).read_bytes() == whole
            assert torch.equal(found, predictor.scores(x))  # a name was changed, or a letter of what nobody reads
        (folder / name).write_bytes(whole)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_programs_are_not_opened_unasked(exported: Path, tmp_path: Path) -> None:
    """Without trust nothing of a program is read; with it, an archive that points outside, or unpacks to more than it is, is refused."""
    marker = tmp_path / "ran"

    def archive(name: str, content: bytes, how: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as file:
            file.writestr(name, content)
        return out.getvalue()

    def program(i: int, content: bytes, form: str = "torch") -> Path:
        name = {"torch": "model_pt2", "onnx": "model_onnx"}[form]
        return forged(exported, tmp_path / f"{form}{i}", put("about", "form", form), **{name: content})

    bomb = archive("data/weights/0", bytes(10**7), zipfile.ZIP_DEFLATED)
    for i, (content, message) in enumerate(
        (
            (archive("../evil", b"x"), "points outside"),
            (archive("/etc/cron.d/evil", b"x"), "points outside"),
            (archive("a/../../evil", b"x"), "points outside"),
            (bomb, "unpacks to more"),
            (b"PK no archive", "no program that torch can read"),
            (archive("archive/data.pkl", pickle.dumps(Evil(marker))), "no program"),
        )
    ):
        folder = program(i, content)
        with pytest.raises(RunError, match="say --trust"):
            reader(folder)
        with pytest.raises(RunError, match=message):
            reader(folder, trust=True)
    import onnx

    weight = onnx.TensorProto(data_type=1, dims=[1], name="w", data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../../etc/passwd")
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [onnx.helper.make_tensor_value_info("y", 1, [1])],
        [weight],
    )
    content = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    for i, part in enumerate((content, b"no graph")):
        with pytest.raises(RunError, match="no program that onnxruntime can read"):
            reader(program(i, part, "onnx"), trust=True)
    assert not marker.exists()


def test_where_things_lay_is_not_told() -> None:
    assert without_folders("my photos (/home/ada/data/cats)") == "my photos (cats)"
    assert without_folders("path: /srv/x/y z: https://a.org/b a/b 1/2") == "path: y z: https://a.org/b a/b 1/2"


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = runpy.run_path(str(ROOT / "examples" / "release_gate.py"))["main"](tmp_path)
    assert found["status"] == {"finetune": 1, "replay": 0}
    assert found["right"] > 0.5
