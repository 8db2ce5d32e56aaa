"""One specification a run, built alike by the command line, YAML and Python; and who may name code."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lifelong import EWC, MLP, MethodError, Replay, RunError, Training, chain, fit, permuted, stream_of
from lifelong.cli import main
from lifelong.core.yaml_io import flatten
from lifelong.runs.naming import spec_of
from lifelong.runs.spec import Permission, RunSpec

TRAINING = Training(lr=0.1, batch_size=32)
MINE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from lifelong import Method, stream_of


@dataclass(frozen=True)
class Pull(Method):
    """Pulls.

    Args:
        strength: how hard.
    """

    strength: float = 0.1
    name: ClassVar[str] = "pull"

    def gradient(self, state, grads, context):
        return grads * (1 - self.strength)


def net(shape, outputs, units=5):
    """A network.

    Args:
        units: of its hidden layer.
    """
    return nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Linear(units, outputs))


def counted(num_classes=1000, units=7):
    return nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Linear(units, num_classes))


def made(seed=0, rows=40):
    g = torch.Generator().manual_seed(seed)
    return stream_of([(torch.randn(rows, 3, generator=g), torch.arange(rows) % 2) for _ in range(2)], scenario="domain")
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digits(seed: int = 0) -> Any:
    return permuted("digits", tasks=2, examples=60, seed=seed)


# --- built alike ------------------------------------------------------------------------------------------------------------
def test_python_flags_and_yaml_say_the_same() -> None:
    python = spec_of(chain(EWC(2.0), Replay(10)), MLP((20,)), digits, seeds=[0], training=TRAINING)
    flags = RunSpec.from_keys(
        {
            "stream": "permuted",
            "stream.source": "digits",
            "stream.tasks": "2",
            "stream.examples": "60",
            "stream.seed": "0",
            "method": "ewc+replay",
            "ewc.strength": "2",
            f"replay.{'buffer_size' if hasattr(Replay(1), 'buffer_size') else 'slots'}": "10",
            "net": "mlp",
            "net.hidden": "20",
            **vars(TRAINING),
        }
    )
    for spec in (python, RunSpec.from_keys(flatten(yaml.safe_load(python.to_yaml())))):
        assert yaml.safe_load(spec.to_yaml()) == yaml.safe_load(flags.to_yaml())


def test_an_order_and_a_seed_of_its_own_for_each_are_named() -> None:
    spec = spec_of(EWC(), MLP((20,)), lambda seed: digits(seed), seeds=[3, 4])
    assert spec.stream_options["seed"] == "each"
    assert spec_of(EWC(), MLP((20,)), lambda seed: digits().reorder([1, 0])).order == (1, 0)


@pytest.mark.parametrize("change", [lambda s: s.few(5), lambda s: s.subset([0]), lambda s: s.hold_out(0.5)])
def test_what_is_made_of_a_stream_has_no_name(change: Any) -> None:
    spec = spec_of(EWC(), MLP((20,)), lambda seed: change(digits()))
    assert "stream" in spec.unnamed


# --- a folder that fit wrote --------------------------------------------------------------------------------------------------
def test_fit_writes_what_run_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(EWC(1.0), MLP((20,)), digits(), training=TRAINING, out=tmp_path / "python")
    flags = "--stream permuted --stream.source digits --stream.tasks 2 --stream.examples 60 --method ewc --net.hidden 20 --lr 0.1 --batch_size 32"
    usual = "--momentum 0 --clip none --epochs 1"
    assert main(["run", *flags.split(), *usual.split(), "--out", str(tmp_path / "command")]) == 0
    names = [{p.name for p in (tmp_path / of).iterdir() if not p.name.startswith(".")} for of in ("python", "command")]
    assert names[0] == names[1]
    R = [(tmp_path / of / "results.csv").read_text().splitlines() for of in ("python", "command")]
    accuracies = [[line.rsplit(",", 1)[0] for line in rows if ",accuracy," in line] for rows in R]
    assert accuracies[0] == accuracies[1]


def test_a_folder_of_fit_is_resumed_exported_compared_and_gated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    fit(EWC(1.0), MLP((20,)), digits(), training=TRAINING, out=folder)
    assert main(["resume", str(folder)]) == 0
    assert main(["export", str(folder), "--out", str(tmp_path / "export")]) == 0
    assert main(["gate", "--old", str(folder), "--new", str(folder)]) == 0
    fit(Replay(20), MLP((20,)), digits(), training=TRAINING, out=folder)
    assert RunSpec.load(folder / "config.yaml").methods == ("ewc", "replay")
    assert main(["compare", str(folder)]) == 0
    assert "replay" in capsys.readouterr().out


def test_a_folder_is_one_run(tmp_path: Path) -> None:
    fit(EWC(1.0), MLP((20,)), digits(), training=TRAINING, out=tmp_path)
    with pytest.raises(RunError, match=r"another specification \(net.hidden: \[20\] there, \[30\] here\)"):
        fit(Replay(20), MLP((30,)), digits(), training=TRAINING, out=tmp_path)


def test_what_has_no_name_is_named_by_who_asks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data.py").write_text(
        "import torch\nfrom torch import nn\nfrom lifelong import stream_of\n\n\ndef make():\n    g = torch.Generator().manual_seed(5)\n"
        "    return stream_of([(torch.randn(40, 3, generator=g), torch.arange(40) % 2) for _ in range(2)], scenario='domain')\n\n\n"
        "def net(shape, outputs):\n    return nn.Sequential(nn.Linear(3, 2))\n"
    )
    g = torch.Generator().manual_seed(5)
    own = stream_of([(torch.randn(40, 3, generator=g), torch.arange(40) % 2) for _ in range(2)], scenario="domain")
    fit(EWC(1.0), nn.Sequential(nn.Linear(3, 2)), own, training=TRAINING, out="run")
    assert main(["export", "run", "--out", "export"]) == 2
    assert "the stream has no name" in capsys.readouterr().err
    assert main(["export", "run", "--out", "export", "--stream", "./data.py:make"]) == 2
    assert "the net has no name" in capsys.readouterr().err
    named = ["--stream", "./data.py:make", "--net", "./data.py:net"]
    assert main(["export", "run", "--out", "export", *named]) == 0
    assert main(["resume", "run", *named]) == 0
    assert main(["gate", "--old", "run", "--new", "run", *named]) == 0
    assert main(["compare", "run"]) == 0


def test_a_run_of_the_version_before_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(EWC(1.0), MLP((20,)), digits(), training=TRAINING, out=tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 2', '"schema": 1'))
    assert main(["resume", str(tmp_path)]) == 1
    assert "was written by lifelong 0.1.0" in capsys.readouterr().err


# --- code -------------------------------------------------------------------------------------------------------------------
CODE = ["--method", "./mine.py:Pull,ewc", "--net", "./mine.py:net", "--net.units", "6", "--stream", "./mine.py:made"]


def test_code_that_is_typed_is_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *CODE, "--stream.rows", "30", "--pull.strength", "0.5", "--out", "run"]) == 0
    text = (here / "run" / "config.yaml").read_text()
    said = flatten(yaml.safe_load(text))
    assert said["code.method.pull"] == "./mine.py:Pull"
    assert said["pull.strength"] == 0.5
    assert said["net.units"] == 6
    assert said["stream.rows"] == 30
    assert len(said["sha256../mine.py:net"]) == 64


@pytest.mark.parametrize(
    "command", [["resume", "run"], ["export", "run", "--out", "e"], ["gate", "--old", "run", "--new", "run"]]
)
def test_code_that_a_folder_names_is_refused(
    command: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *CODE, "--out", "run"]) == 0
    (here / "mine.py").write_text("raise SystemExit('run')\n")
    assert main(command) == 2
    assert "names code that would be run (./mine.py:made, ./mine.py:Pull, ./mine.py:net): say --allow-code" in (
        capsys.readouterr().err
    )
    assert main([*command, "--allow-code"]) in (1, 2)
    assert "has changed since this run began" in capsys.readouterr().err


def test_fit_goes_on_with_the_same_code_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "own_pull.py"
    source.write_text(MINE)
    pull = import_module("own_pull").Pull()
    stream, out = digits(), tmp_path / "run"
    first = fit(pull, MLP((8,)), stream, training=TRAINING, out=out)
    assert fit(pull, MLP((8,)), stream, training=TRAINING, out=out).matrix().acc == first.matrix().acc
    source.write_text(MINE + "\n# changed\n")
    with pytest.raises(RunError, match="own_pull:Pull has changed since the run in"):
        fit(pull, MLP((8,)), stream, training=TRAINING, out=out)


def test_code_that_a_file_names_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text("method: ./mine.py:Pull\n")
    assert main(["run", "--config", "c.yaml", "--out", "run"]) == 2
    assert "c.yaml names code" in capsys.readouterr().err
    for command in ("sweep", "order"):
        assert main([command, "--config", "c.yaml", "--out", "s"]) == 2
    assert main(["run", "--config", "c.yaml", "--print_config", "--allow-code"]) == 0


def test_an_export_that_names_code_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *CODE, "--out", "run"]) == 0
    assert main(["export", "run", "--out", "e", "--allow-code"]) == 0
    (here / "x.csv").write_text("a,b,c\n0.1,0.2,0.3\n")
    assert main(["predict", "e", "x.csv"]) == 1
    assert "this export names code" in capsys.readouterr().err
    assert main(["predict", "e", "x.csv", "--allow-code"]) == 0


def test_reports_never_import_it(here: Path) -> None:
    assert main(["run", *CODE, "--out", "run"]) == 0
    (here / "mine.py").write_text("raise SystemExit('run')\n")
    assert main(["report", "run"]) == 0
    assert main(["compare", "run"]) == 0


def test_a_factory_of_num_classes(here: Path) -> None:
    spec = RunSpec.from_keys({"net": "./mine.py:counted", "net.units": "9"})
    net = spec.build_net()((3,), 4)
    assert (net[0].out_features, net[2].out_features) == (9, 4)
    assert repr(spec.build_net()) == "./mine.py:counted(units=9)"


def test_a_name_that_is_taken_is_refused(here: Path) -> None:
    (here / "mine.py").write_text(MINE.replace('"pull"', '"ewc"'))
    with pytest.raises(MethodError, match="calls itself 'ewc', which is the name of another method"):
        RunSpec.from_keys({"method": "./mine.py:Pull"})


def test_a_network_that_is_called_as_one_of_the_package(here: Path) -> None:
    """torchvision's resnet18, which its user cannot rename, goes by its module as well."""
    (here / "others.py").write_text(MINE.replace("def counted", "def resnet18"))
    assert RunSpec.from_keys({"net": "./others.py:resnet18"}).net == "others_resnet18"
    assert RunSpec.from_keys({"net": "others:resnet18"}).net == "others_resnet18"
    assert RunSpec.from_keys({"net": "resnet18"}).net == "resnet18"


def test_code_that_a_file_names_may_be_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *CODE, "--out", "run"]) == 0
    short = [*CODE[:4], *CODE[6:]]
    assert main(["run", "--config", "run/config.yaml", *short, "--print_config"]) == 0
    assert main(["run", "--config", "run/config.yaml", *short[:4], "--print_config"]) == 2
    assert "names code that would be run (./mine.py:made): say" in capsys.readouterr().err
    assert main(["export", "run", "--out", "e", "--net", "./mine.py:net", "--stream", "./mine.py:made"]) == 2
    assert "(./mine.py:Pull): say" in capsys.readouterr().err


def test_a_function_that_makes_streams(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the seed by name, on the command line and in Python; a folder of `fit` names it."""
    (here / "streams.py").write_text(MINE.replace("seed=0, rows=40", "rows=40, *, seed"))
    assert main(["run", "--stream", "./streams.py:made", "--net", "./mine.py:net", "--out", "run"]) == 0
    assert RunSpec.load(here / "run" / "config.yaml", Permission(allow_code=True)).stream_options == {"seed": 0}
    monkeypatch.syspath_prepend(here)
    made = import_module("streams").made
    fit(EWC(1.0), MLP((8,)), made, seeds=[2, 3], training=TRAINING, out="fitted")
    spec = RunSpec.load(here / "fitted" / "config.yaml", Permission(allow_code=True))
    assert (spec.stream, spec.stream_options) == ("made", {"seed": "each"})
    for seed in (2, 3):
        assert torch.equal(spec.build_stream(seed)[0].train.x, made(seed=seed)[0].train.x)
    assert main(["export", "fitted", "--out", "e", "--allow-code"]) == 0


def test_other_data_are_no_advice_to_remove_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(EWC(1.0), MLP((8,)), digits(), training=TRAINING, out="run")
    (here / "others.py").write_text(MINE)
    other = stream_of([(torch.randn(40, 3), torch.arange(40) % 2) for _ in range(2)], scenario="domain")
    fit(EWC(1.0), MLP((8,)), other, training=TRAINING, out="own")
    assert main(["export", "own", "--out", "e", "--stream", "./others.py:made"]) == 1
    assert "name the stream that this run learnt" in capsys.readouterr().err


def test_permission_names_only_what_has_no_name() -> None:
    said = {"stream.unnamed": "own", "net": "mlp", "pull.unnamed": "Pull()"}
    named = Permission(named={"stream": "a:b", "net": "c:d", "method": "e:F"}).name(said)
    assert named == {"stream": "a:b", "net": "mlp", "method": "e:F"}
