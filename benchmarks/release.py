"""What docs/release.md shows: the gate on a model that forgot and on one that did not, an export's card, and what can be exported as what.

The old model has learnt two tasks of permuted digits, the new ones five: by fine-tuning, and with replay. Then every method that answers by
itself, and every network, is exported in each form and held to its run on test inputs.

    python benchmarks/release.py [--epochs 5]       about five minutes of one core
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from harness import Benchmark
from lifelong.cli import main as lifelong
from lifelong.core.errors import LifelongError
from lifelong.core.registry import METHODS
from lifelong.release import export
from lifelong.runs.jobs import execute
from lifelong.runs.spec import RunSpec

PERMUTED = ["run", "--stream", "permuted", "--stream.source", "mnist-mini", "--net.hidden", "256,256", "--threads", "1"]
PERMUTED += ["--lr", "0.1", "--momentum", "0", "--batch_size", "32"]
SMALL = {"stream": "split", "stream.source": "digits", "stream.tasks": 3, "net.hidden": "16", "epochs": 1}
STORIES = {"stream": "babi", "stream.tasks": "1", "stream.examples": 100, "stream.memory": 10, "epochs": 1}
IMAGES = {"stream": "split", "stream.tasks": 2, "stream.examples": 100, "net": "resnet18", "net.width": 4, "epochs": 1}
NETS = {"memory_network": STORIES, "reader": {**STORIES, "net": "reader"}, "resnet18": IMAGES}


def gates(epochs: int, docs: Path) -> None:
    """Runs, gates and an export in the present folder; what they say goes to docs/."""
    usual = [*PERMUTED, "--epochs", str(epochs)]
    lifelong([*usual, "--stream.tasks", "2", "--out", "old"])
    lifelong(
        [*usual, "--stream.tasks", "5", "--method", "finetune,replay", "--replay.buffer_size", "1000", "--out", "new"]
    )
    for method in ("finetune", "replay"):
        page = docs / f"release-{method}.txt"
        limits = ["--max-drop", "0.05", "--max-negative-flips", "0.08", "--worst-class", "0.2"]
        status = lifelong(
            ["gate", "--old", "old", "--new", "new", "--new-method", method, *limits, "--markdown", str(page)]
        )
        page.write_text(page.read_text() + f"exit status {status}\n")
    lifelong(["export", "new", "--method", "replay", "--out", "released"])
    (docs / "release-card.txt").write_text(Path("released/README.md").read_text())


def exports() -> list[str]:
    """A row for each method and network: how far each form is from the run."""
    rows = []
    for scenario in ("class", "task"):
        known = {n: e.load()() for n, e in METHODS.items()}
        fits = [n for n, m in known.items() if "predict" in m.acts and scenario in m.scenarios]
        fits = ["finetune", *(n for n in fits if (scenario, n) != ("class", "independent"))]
        execute(RunSpec.from_keys({**SMALL, "scenario": scenario, "method": ",".join(fits)}), Path(scenario))
        rows += [_row(Path(scenario), "mlp" if n == "finetune" else n, scenario, n) for n in fits]
    for net, keys in NETS.items():
        execute(RunSpec.from_keys(keys), Path(net))
        rows.append(_row(Path(net), net, RunSpec.from_keys(keys).build_stream(0).scenario, "finetune"))
    return rows


def _row(run: Path, what: str, scenario: str, method: str) -> str:
    cells = []
    for form in ("safetensors", "torch", "onnx"):
        try:
            done = export(run, Path(f"{run.name}-{method}-{form}"), form, method)  # type: ignore[arg-type]
            cells.append("equal" if done.difference == 0 else f"{done.difference:.0e}")
        except LifelongError as error:
            print(error)
            cells.append("refused")
    return f"| `{what}` | {scenario} | {' | '.join(cells)} |"


def main() -> None:
    bench = Benchmark("release", __doc__)
    bench.flag("--epochs", type=int, default=5)
    epochs, docs = bench.said.epochs, bench.docs
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["OMP_NUM_THREADS"] = "1"
        gates(epochs, docs)
        head = ["| what answers | scenario | safetensors | torch | onnx |", "|---|---|---|---|---|"]
        (docs / "release-exports.txt").write_text("\n".join([*head, *exports()]) + "\n")


if __name__ == "__main__":
    main()
