"""The command line as its users meet it."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifelong import Training
from lifelong.cli import main
from lifelong.core.errors import DataError, MethodError
from lifelong.core.registry import METHODS, STREAMS
from lifelong.core.yaml_io import flatten
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec
from lifelong.runs.spec_keys import Names, known_keys

SMALL = [
    *("run", "--stream", "split", "--stream.source", "digits", "--stream.tasks", "2", "--net.hidden", "16"),
    *("--epochs", "1", "--threads", "1"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of three methods with two seeds."""
    out = tmp_path_factory.mktemp("runs") / "run"
    methods = ["--method", "finetune,joint,ewc", "--ewc.strength", "5"]
    assert main([*SMALL, *methods, "--seeds", "2", "--out", str(out)]) == 0
    return out


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_directory_holds_what_the_contract_says(done: Path) -> None:
    names = {p.name for p in done.iterdir()}
    files = {"config.yaml", "manifest.json", "results.csv", "summary.json", "events.jsonl", "checkpoint", "report.html"}
    assert files <= names
    assert (done / "checkpoint" / "ewc" / "1").is_dir()
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["seeds"] == [0, 1]
    assert "shipped" in manifest["source"]
    assert {"torch", "python", "lifelong"} <= set(manifest["versions"])


def test_its_results_are_all_cells_and_every_measure(done: Path) -> None:
    rows = rows_of(done)
    assert list(rows[0]) == ["stream", "scenario", "method", "seed", "after", "on", "metric", "value", "n", "seconds"]
    cells = [r for r in rows if r["metric"] == "accuracy"]
    assert len(cells) == 3 * 2 * 3 * 2
    assert all(r["value"] == "nan" for r in cells if r["after"] == "0")  # class scenario: no class seen yet
    assert all(r["value"] == "0.0" for r in cells if r["after"] == "1" and r["on"] == "2")
    assert all(0 <= float(r["value"]) <= 1 and int(r["n"]) > 0 for r in cells if r["after"] != "0")
    last = {
        r["metric"]: r for r in rows if r["method"] == "ewc" and r["seed"] == "1" and r["after"] == "2" and not r["on"]
    }
    measures = {"acc", "bwt", "fwt", "forgetting", "intransigence", "learning_accuracy", "worst_case"}
    costs = {"parameters", "parameter_ratio", "memory_bytes", "train_seconds"}
    assert measures | costs <= set(last)
    assert last["fwt"]["value"] == "nan"
    assert float(last["intransigence"]["value"]) == float(last["intransigence"]["value"])  # joint was run with it
    summary = json.loads((done / "summary.json").read_text())
    assert summary["methods"]["ewc"]["acc"]["n"] == 2
    ewc = [float(r["value"]) for r in rows if r["metric"] == "acc" and r["method"] == "ewc"]
    assert summary["methods"]["ewc"]["acc"]["mean"] == pytest.approx(sum(ewc) / 2)


def test_a_run_says_what_it_learns_and_is_not_begun_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [*SMALL, "--method", "ewc", "--out", str(tmp_path / "run")]
    assert main(run) == 0
    said = capsys.readouterr()
    assert "ewc" in said.out
    assert "shipped" in said.err  # the source of the data is printed
    assert main(run) == 1  # refused: it is there already
    assert "resume" in capsys.readouterr().err


def test_a_run_is_reported_again_and_compared(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shutil.copytree(done, tmp_path / "run")
    page = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert len((out / "report.html").read_text()) > len(page) / 2
    capsys.readouterr()
    both = tmp_path / "both.html"
    assert main(["compare", str(out), str(out), "--out", str(both)]) == 0
    assert "paired" in capsys.readouterr().out.lower()
    assert "<html" in both.read_text()
    assert main(["compare", str(out), "--out", str(tmp_path / "compared")]) == 0
    assert {p.name for p in (tmp_path / "compared").iterdir()} == {"compare.html", "compare.csv", "figures"}


def test_configuration_files_say_what_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SMALL, "--method", "ewc+l2", "--ewc.strength", "3", "--l2.strength", "0.5", "--seeds", "4,9"]
    assert main([*flags, "--print_config"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "run.yaml"
    path.write_text(text)
    by_file, by_flags = RunSpec.load(path), RunSpec.from_keys(flatten(yaml.safe_load(text)))
    assert by_file == by_flags
    assert by_file.seeds == (4, 9)
    assert by_file.method_options["l2"] == {"strength": 0.5}
    assert main(["run", "--config", str(path), "--ewc.strength", "7", "--print_config"]) == 0
    again = yaml.safe_load(capsys.readouterr().out)
    assert again["ewc"]["strength"] == 7.0
    assert again["net"]["hidden"] == [16]
    path.write_text("stream: {name: split}\nmethod: {name: ewc, strength: 2}\nseeds: 3\n")
    loaded = RunSpec.load(path)
    assert (loaded.methods, loaded.method_options["ewc"], loaded.seeds) == (("ewc",), {"strength": 2.0}, (0, 1, 2))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "ecw"], "did you mean 'ewc'?"),
        (["--stream", "permutted"], "did you mean 'permuted'?"),
        (["--method", "ewc", "--method.strenght", "1"], "did you mean '--method.strength'?"),
        (["--method", "ewc", "--ewc.strength", "much"], "expected a number"),
        (["--method", "ewc", "--ewc.importance", "exct"], "exact|sampled|argmax|empirical|hessian"),
        (["--method", "ewc", "--ewc.strength", "-1"], "expected 0 or more"),
        (["--method", "ewc,l2", "--method.strength", "1"], "unrecognized"),
        (["--method", "independent", "--stream", "permuted"], "oracle true"),
        (["--seeds", "0"], "5 means 0 to 4"),
        (["--epochs", "0"], "at least 1"),
        (["--scenario", "tasks"], "task|domain|class"),
        (["--device", "warp"], "'cpu' always can"),
        (["--config", "nowhere.yaml"], "cannot read the configuration"),
        (["--precision", "float31"], "expected one of float32"),
    ],
)
def test_usage_errors(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["run", *flags, "--out", str(tmp_path / "out")])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_training_that_breaks_down_is_a_failure_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*SMALL, "--lr", "1e30", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "lower the learning rate" in said
    assert "failed" in (out / "events.jsonl").read_text()


def test_no_run_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("resume", "report"):
        assert main([command, str(tmp_path)]) == 1
        assert str(tmp_path) in capsys.readouterr().err


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for kind, name in (("methods", "ewc"), ("streams", "permuted"), ("nets", "mlp")):
        assert main([kind]) == 0
        assert name in capsys.readouterr().out
        assert main([kind, "--json"]) == 0
        assert name in {e["name"] for e in json.loads(capsys.readouterr().out)}


def test_the_scenarios_that_are_listed_are_the_methods_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    listed = {e["name"]: e["scenarios"] for e in json.loads(capsys.readouterr().out)}
    for name, entry in METHODS.items():
        own = []
        for scenario in ("task", "domain", "class"):
            with contextlib.suppress(MethodError):
                entry.load()().check(scenario)
                own.append(scenario)
        assert listed[name] == own, name
    assert main(["methods"]) == 0
    assert "(task, class)" in capsys.readouterr().out


# test_babi holds that they say so
NOT_ON_STORIES = {"fearnet", "generative_replay", "grow", "hat", "progressive"}


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("stream", [s for s in STREAMS if s not in ("folder", "table", "clinc150", "banking77")])
def test_every_method_on_every_stream_and_scenario(stream: str, scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    methods = []
    for name, entry in METHODS.items():
        with contextlib.suppress(MethodError):
            entry.load()().check(scenario)
            if stream not in ("babi", "copying") or name not in NOT_ON_STORIES:
                methods.append(name)
    keys = {"stream": stream, "stream.source": "digits", "stream.examples": 80, "stream.test_examples": 40}
    keys |= {
        "scenario": scenario,
        "net.hidden": (16,),
        "threads": 1,
        "epochs": 1,
        "seeds": 1,
        "method": ",".join(methods),
    }
    keys |= {"stream.tasks": 2} if stream != "two_corpora" else {}
    keys |= {"stream.first": "digits", "stream.second": "digits"} if stream == "mixed" else {}
    if stream == "babi":
        del keys["net.hidden"]
        keys |= {"stream.source": "made", "stream.tasks": (1, 4), "net.units": 4}
    if stream == "copying":
        del keys["net.hidden"]
        keys |= {"stream.lengths": (2, 3), "net.units": 8}
    net = {"babi": "memory_network", "copying": "reader"}.get(stream, "mlp")
    known = {"stream", "method", "seeds", *known_keys(Names(stream, tuple(methods), net, {}))}
    keys = {k: v for k, v in keys.items() if k in known}
    if stream in ("turning", "copying") and scenario != "domain":
        with pytest.raises(DataError, match="is the scenario 'domain'"):
            RunSpec.from_keys(keys).build_stream(0)
        return
    run, failed = execute(RunSpec.from_keys(keys), out)  # what `lifelong run` does before its report
    assert not failed
    assert list(run.methods) == methods
    assert json.loads((out / "summary.json").read_text())["methods"].keys() == set(methods)


def test_a_network_that_is_not_the_streams_usual_one_takes_its_own_constants() -> None:
    """A stream's usual layers belong to its usual network."""
    usual = RunSpec.from_keys({"stream": "split", "net": "resnet18"})
    assert usual.net_options == {}
    assert RunSpec.from_keys({"stream": "split"}).net_options == {"hidden": (400, 400)}
    assert RunSpec.from_keys({"stream": "babi"}).net == "memory_network"
    assert RunSpec.from_keys({"stream": "babi", "net": "reader"}).net == "reader"


def test_what_the_network_cannot_take_is_said_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for keys, said in (
        (["--stream", "babi", "--net", "mlp"], "cannot take inputs"),
        (
            ["--stream", "split", "--scenario", "class", "--net", "resnet18", "--method", "fearnet"],
            "use such a network",
        ),
        (["--method", "progressive"], "--scenario"),
    ):
        assert main(["run", *keys, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
        assert not out.exists()


def test_a_study_is_not_gone_on_with_as_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("stream: turning\n")
    (tmp_path / "study.json").write_text("{}")
    assert main(["resume", str(tmp_path)]) == 1
    assert "lifelong order" in capsys.readouterr().err


def test_an_option_that_is_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--method", "ewc", "--ewc.strenght", "3"])
    assert "did you mean '--ewc.strength'?" in capsys.readouterr().err


def test_hyphens_and_underscores_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for spelling in ("--batch-size", "--batch_size"):
        assert main(["run", spelling, "7", "--weight-decay=0.5", "--print-config"]) == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert yaml.safe_load(pages[0])["batch_size"] == 7
    assert yaml.safe_load(pages[0])["weight_decay"] == 0.5


def test_what_a_scenario_does_not_allow_is_refused_before_anything_is_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--method", "icarl", "--scenario", "domain", "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lifelong: icarl does not run in the scenario 'domain'")


def test_resume_says_what_it_goes_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL, "--method", "finetune,replay", "--out", str(out)]) == 0
    (out / "report.html").unlink()
    capsys.readouterr()
    assert main(["resume", str(out)]) == 0
    assert "goes on  finetune seed 0: 2 of 2 tasks; replay seed 0: 2 of 2 tasks" in capsys.readouterr().err


def test_a_run_folder_keeps_the_training_that_it_was_written_with(tmp_path: Path) -> None:
    """What an older folder does not say is `Training`'s own default, and not the stream's usual training of today."""
    path = tmp_path / "config.yaml"
    path.write_text("stream: {name: two_corpora, seed: 0}\nmethod: ewc\nlr: 0.1\nepochs: 20\nseeds: [0, 1]\n")
    assert RunSpec.load(path).build_training() == Training(lr=0.1, epochs=20)
    usual = RunSpec.from_keys({"stream": "two_corpora"}).build_training()
    assert (usual.optimizer, usual.lr, usual.halve_every) == ("adam", 0.001, 4)
    path.write_text(RunSpec.from_keys({"stream": "two_corpora"}).to_yaml())
    assert RunSpec.load(path).build_training() == usual


@pytest.mark.parametrize(
    ("said", "lr", "momentum", "halve_every"),
    [
        ({"stream": "two_corpora", "optimizer": "sgd"}, 0.1, 0.0, None),
        ({"stream": "two_corpora", "optimizer": "sgd", "lr": 0.3}, 0.3, 0.0, None),
        ({"stream": "two_corpora", "epochs": 40}, 0.001, 0.0, None),
        ({"stream": "permuted", "optimizer": "adam"}, 0.001, 0.0, None),
        ({"stream": "permuted", "optimizer": "sgd"}, 0.1, 0.9, None),
    ],
    ids=["another optimizer", "and its rate", "more epochs", "adam for sgd", "the usual one"],
)
def test_usual_constants_belong_to_the_usual_optimizer(
    said: dict[str, Any], lr: float, momentum: float, halve_every: int | None
) -> None:
    training = RunSpec.from_keys(said).build_training()
    assert (training.lr, training.momentum, training.halve_every) == (lr, momentum, halve_every)
