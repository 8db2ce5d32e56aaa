"""What is exported answers as the run did; reading it runs nothing; what was tampered with is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lifelong.cli import main
from lifelong.recall import recall
from lifelong.registry import METHODS
from lifelong.release import export, load

ROOT = Path(__file__).parents[1]
SMALL = [
    *("run", "--stream", "split", "--stream.source", "digits", "--stream.tasks", "3", "--net.hidden", "16"),
    *("--epochs", "1", "--threads", "1", "--stream.examples", "600"),
]
ANSWERING = {name: e.load()().scenarios for name, e in METHODS.items() if "predict" in e.load()().acts}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run in each scenario, with every method that answers by itself."""
    made = {}
    for scenario in ("class", "task"):
        made[scenario] = tmp_path_factory.mktemp("runs") / scenario
        fits = [m for m, known in ANSWERING.items() if scenario in known and (scenario == "task" or m != "independent")]
        methods = ["finetune", *fits, *(["ewc+grow"] if scenario == "class" else [])]
        flags = ["--scenario", scenario, "--method", ",".join(methods), "--out", str(made[scenario])]
        constants = ["--expert_gate.gate_epochs", "1", "--expert_gate.code", "8", "--grow.threshold", "0.99"]
        constants = constants if scenario == "class" else constants[:4]
        assert main([*SMALL, *flags, *constants]) == 0
    return made


def cases() -> list[tuple[str, str]]:
    found = [("class", "finetune"), ("class", "ewc+grow"), ("task", "finetune")]
    return [
        *found,
        *(
            (s, m)
            for m, known in ANSWERING.items()
            for s in known
            if s != "domain" and (s, m) != ("class", "independent")
        ),
    ]


@pytest.mark.parametrize(("scenario", "method"), cases())
def test_safetensors_answer_bit_for_bit(scenario: str, method: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """Whatever answers: the network, or any method of the registry that has a `predict`."""
    done = export(runs[scenario], tmp_path / "out", method=method)
    assert (done.difference, done.inputs > 90) == (0.0, True)
    found, predictor = recall(runs[scenario], method), load(tmp_path / "out")
    for task in found.stream:
        x = task.test.x[task.test.rows][:40]
        told = task.index if scenario == "task" else None
        assert torch.equal(predictor.scores(x, told), found.learner.scores(x, task))
        if scenario == "task":
            assert set(predictor.scores(x, told).argmax(1).tolist()) <= set(task.classes)
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (
        "## Data",
        "## Costs",
        "## Limits",
        "digits",
        f"{found.record.accuracy[-1][0]:.4f}",
        f"{found.record.parameters[-1]:,}",
    ):
        assert said in card
    assert str(tmp_path) not in card
