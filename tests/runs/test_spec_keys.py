"""Networks, streams and methods that somebody's code makes: what it may look like, and what its mistakes say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import MethodError, RunError
from lifelong.cli import main
from lifelong.core import code
from lifelong.core.registry import Entry
from lifelong.runs.spec import RunSpec
from lifelong.runs.spec_keys import network_maker, options_of

NETS = """
from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from nowhere import Units


def plain(shape, outputs, units=5):
    return nn.Sequential(nn.Linear(3, units), nn.Linear(units, outputs))

def by_name(*, shape, outputs, depth: int):
    return nn.Sequential(*[nn.Linear(3, 3) for _ in range(depth)], nn.Linear(3, outputs))

def checked(shape, outputs, units: Units = 5):
    return plain(shape, outputs, units)

def nothing():
    return nn.Linear(3, 2)

def maker(units=4):
    return lambda shape, outputs: plain(shape, outputs, units)

seven = functools.partial(plain, units=7)

@dataclass
class Wide:
    units: int
    depth: int

    def __call__(self, shape, outputs):
        return plain(shape, outputs, self.units)

class Net(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.last = nn.Linear(3, outputs)

    def forward(self, x):
        return self.last(x)

ready = nn.Linear(3, 2)

def words(shape, outputs):
    return "a network"

def fails(shape, outputs):
    raise ZeroDivisionError("no units")

def calls_itself(shape, outputs, name="x"):
    return plain(shape, outputs)

def listed():
    return [1, 2]

def of_many(names: list[str] = ["a"], seed=0):
    return listed()

def both(shape, num_classes=10):
    return plain(shape, num_classes)

def by_place(shape, outputs, /, units=8):
    return plain(shape, outputs, units)

number = 7
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)


def made(name: str, **given: Any) -> Any:
    return network_maker(Entry(f"./mynets.py:{name}", ""), given)((3,), 2)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((n, {}) for n in ("plain", "checked", "nothing", "maker", "seven", "Net", "both", "by_place")),
        ("by_name", {"depth": 2}),
        ("Wide", {"units": 6, "depth": 1}),
    ],
)
def test_makers_of_many_kinds(name: str, given: dict[str, Any]) -> None:
    assert made(name, **given)(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ready", "is a network already: expected a function that makes one"),
        ("words", "gives 'a network': expected a torch.nn.Module"),
        ("fails", r"fails \(ZeroDivisionError: no units; mynets\.py, line \d+\)"),
        ("calls_itself", "has an option 'name'"),
    ],
)
def test_what_is_no_maker_is_refused(name: str, message: str) -> None:
    def asked() -> None:
        options_of("net", Entry(f"./mynets.py:{name}", ""))
        made(name)

    with pytest.raises(MethodError, match=message):
        asked()


def test_options_that_must_be_given() -> None:
    assert [o.name for o in options_of("net", Entry("./mynets.py:by_name", ""))] == ["depth"]
    with pytest.raises(MethodError, match=r"the net 'by_name' needs --net\.depth"):
        RunSpec.from_keys({"net": "./mynets.py:by_name"}).build_net()
    assert len(RunSpec.from_keys({"net": "./mynets.py:by_name", "net.depth": "3"}).build_net()((3,), 2)) == 4


def test_a_network_made_of_nothing_is_drawn_from_the_seed() -> None:
    spec = RunSpec.from_keys({"net": "./mynets.py:nothing", "stream": "turning"})
    stream = spec.build_stream(0)
    first, second, other = (spec.build_learner("finetune", seed, stream).net.weight for seed in (0, 0, 1))  # type: ignore[union-attr]
    assert torch.equal(first, second)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["method", "net", "stream"])
def test_what_cannot_be_called_is_refused(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--{kind}", "./mynets.py:number"]) == 2
    assert "./mynets.py:number is 7: expected a" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["listed", "of_many"])
def test_a_stream_that_is_none(name: str) -> None:
    spec = RunSpec.from_keys({"stream": f"./mynets.py:{name}"})
    with pytest.raises(MethodError, match=r"gives \[1, 2\]: expected a lifelong.Stream"):
        spec.build_stream(0)


def test_a_path_may_hold_what_joins_names(tmp_path: Path) -> None:
    assert code.split("./c++/m.py:A+ewc", "+") == ["./c++/m.py:A", "ewc"]
    assert code.split("./c,d/m.py:A,ewc+l2", ",") == ["./c,d/m.py:A", "ewc+l2"]
    assert code.split("ewc,l2", ",") == ["ewc", "l2"]


def test_a_folder_runs_nothing_to_learn_where_code_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a name with a hash alone, nor the packages around a module."""
    assert main(["run", "--stream", "turning", "--stream.tasks", "2", "--out", "run"]) == 0
    Path("around").mkdir()
    Path("around/__init__.py").write_text("open('ran', 'w').close()\n")
    Path("around/mod.py").write_text("Pull = 1\n")
    with Path("run/config.yaml").open("a") as file:
        file.write("sha256:\n  around.mod:Pull: abc\n")
    sys.path.insert(0, str(Path.cwd()))
    try:
        for command in (["resume", "run"], ["export", "run", "--out", "e"]):
            assert main(command) == 2
            assert "names code that would be run (around.mod:Pull)" in capsys.readouterr().err
        assert len(code.fingerprint("around.mod:Pull")) == 64
    finally:
        sys.path.remove(str(Path.cwd()))
    assert not Path("ran").exists()


def test_an_export_notices_that_its_code_changed(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--stream", "turning", "--stream.tasks", "2", "--net", "./flat.py:net"]
    Path("flat.py").write_text(
        "from torch import nn\n\n\ndef net(shape, outputs):\n    return nn.Linear(shape[0], outputs)\n"
    )
    assert main(["run", *options, "--out", "run"]) == 0
    assert main(["export", "run", "--out", "e", "--allow-code"]) == 0
    with Path("flat.py").open("a") as file:
        file.write("# changed\n")
    Path("x.csv").write_text("1.0,2.0\n")
    assert main(["predict", "e", "x.csv", "--allow-code"]) == 1
    assert "flat.py:net has changed since this was exported" in capsys.readouterr().err


def test_a_table_is_answered_by_the_names_of_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas", reason="needs pandas: pip install 'lifelong[table]'")
    rows = "".join(f"{m},{i},{-2 * i},{i % 2}\n" for m in ("may", "june") for i in range(10))
    Path("data.csv").write_text("month,a,b,late\n" + rows)
    table = ["--stream", "table", "--stream.path", "data.csv", "--stream.task", "month", "--stream.label", "late"]
    assert main(["run", *table, "--scenario", "domain", "--epochs", "1", "--out", "run"]) == 0
    assert main(["export", "run", "--out", "e"]) == 0
    answers = []
    for text in ("a,b\n1,2\n", "b,a\n2,1\n", "late,b,month,a\n0,2,may,1\n", "1,2\n"):
        Path("x.csv").write_text(text)
        capsys.readouterr()
        assert main(["predict", "e", "x.csv"]) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1
    Path("x.csv").write_text("a,c\n1,2\n")
    assert main(["predict", "e", "x.csv"]) == 1
    assert "no column 'b'" in capsys.readouterr().err


def test_a_refused_fit_leaves_the_folder_alone(tmp_path: Path) -> None:
    from lifelong import EWC, MLP, Replay, Training, fit, turning

    training, out = Training(epochs=1), tmp_path / "run"
    stream = turning(tasks=2, examples=100)
    for method in (EWC(1.0), EWC(1.0), Replay(20)):
        fit(method, MLP((4,)), stream, training=training, out=out)
    before = (out / "config.yaml").read_text()
    with pytest.raises(RunError, match=r"ewc\.strength: 1\.0 there, 2\.0 here"):
        fit(EWC(2.0), MLP((4,)), stream, training=training, out=out)
    assert (out / "config.yaml").read_text() == before
