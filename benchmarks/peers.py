"""The same job with avalanche-lib 0.6.0, in a virtual environment of its own.

Permuted MNIST, 10 tasks, 784-256-256-10, batch 128, one epoch, SGD, R after each task. Imports and the building of data are
printed apart; what is compared is training and R. `--benchmark classic` is avalanche as it comes: its own PermutedMNIST with its
transforms (normalise, permute; ours do the same within the clock), its default evaluator and logger. `tensors` gives it images
that were permuted and scaled beforehand, one metric and no logger: its best case. The two libraries run in turn, each in a
process of its own with as many threads.

    python -m venv PEER; PEER/bin/pip install torch==2.14.1 torchvision==0.29.1 avalanche-lib==0.6.0 quadprog
    python benchmarks/peers.py --peer PEER/bin/python [--methods finetune,ewc] [--pairs 2] [--tasks 10]
        [--benchmark classic]
    python benchmarks/peers.py --peer PEER/bin/python --methods replay,derpp,gem,agem --online

What was measured of other methods before stays in the result's file.

icarl learns split MNIST in five tasks of new classes (avalanche's own SplitMNIST), with 2,000 exemplars. Generative replay has avalanche's default
generator on both sides: 400, 128 hidden units and a code of 2.

With --online: batch 10, 1,000 images a task, 784-100-100-10, a memory of 256 a task (GEM, A-GEM) or 500 in all.

Avalanche's Fisher is the squared gradient of batch means and its penalty has no ½, so that strengths do not carry over: its
accuracy with EWC is printed, not compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import Benchmark, ratios, say

if TYPE_CHECKING:
    from lifelong.streams import Source

HERE = Path(__file__).parent
CLOCKS = ("import_seconds", "build_seconds", "train_seconds", "eval_seconds")
# ours, theirs: what each takes; strengths on each side's own scale
METHODS: dict[str, tuple[dict[str, Any], float | None]] = {
    "finetune": ({}, None),
    "ewc": ({"strength": 1.0, "importance": "empirical"}, 1.0),
    "si": ({"strength": 0.1}, 0.1),
    "mas": ({"strength": 0.01, "implicit": True}, 0.01),
    "replay": ({"buffer_size": 500}, None),
    "derpp": ({"buffer_size": 500, "alpha": 0.5, "beta": 0.5}, None),
    "gem": ({"buffer_size": 256, "margin": 0.5}, None),
    "agem": ({"buffer_size": 2560, "batch_size": 256}, None),
    "lwf": ({}, 1.0),
    "generative_replay": ({"hidden": (400, 128), "code": 2}, None),
    "icarl": ({"buffer_size": 2000}, None),
}


def ours(data: Path, method: str, threads: int, online: bool, classic: bool) -> dict[str, Any]:
    """The job with this library; runs in a process of its own (see `--ours`)."""
    began = time.perf_counter()
    import torch

    import lifelong.runs.fitting  # noqa: F401 (its import belongs to the clock)
    from lifelong.core.examples import Tensors, Transform
    from lifelong.core.stream import Stream, Task
    from lifelong.streams import Permute

    imported = time.perf_counter() - began
    torch.set_num_threads(threads)
    began = time.perf_counter()
    with np.load(data) as file:
        x, y, tx, ty = (torch.from_numpy(file[k]) for k in ("x_train", "y_train", "x_test", "y_test"))
        permutations = torch.from_numpy(file["permutations"])

    def normalised(move: Permute) -> Transform:
        return lambda x: move(x).float().div_(255).sub_(0.1307).div_(0.3081)

    transforms = [normalised(Permute(p)) if classic else Permute(p) for p in permutations]
    if method == "icarl":
        plain = normalised(Permute(torch.arange(784)))
        digits = [(2 * t, 2 * t + 1) for t in range(5)]
        rows = [[torch.isin(labels, torch.tensor(d)).nonzero().flatten() for labels in (y, ty)] for d in digits]
        tasks = tuple(
            Task(f"s{t}", Tensors(x, y, own[0], plain), Tensors(tx, ty, own[1], plain), d)
            for t, (own, d) in enumerate(zip(rows, digits))
        )
        return worked(method, Stream(tasks, "class", tuple(map(str, range(10)))), online, imported, began)
    tasks = tuple(
        Task(f"p{t}", Tensors(x, y, transform=f), Tensors(tx, ty, transform=f), tuple(range(10)))
        for t, f in enumerate(transforms)
    )
    return worked(method, Stream(tasks, "domain", tuple(map(str, range(10)))), online, imported, began)


def worked(method: str, stream: Any, online: bool, imported: float, began: float) -> dict[str, Any]:
    """The job itself."""
    from lifelong.core.registry import METHODS as KNOWN
    from lifelong.nets import MLP
    from lifelong.runs.fitting import fit
    from lifelong.training.settings import Training

    built = time.perf_counter() - began
    chosen = KNOWN[method].load()(**METHODS[method][0])
    net, training = MLP((100, 100) if online else (256, 256)), Training(lr=0.1, batch_size=10 if online else 128)
    run = fit(chosen, net, stream, training=training)
    [record] = run.records.values()
    return {
        "import_seconds": imported,
        "build_seconds": built,
        "train_seconds": record.train_seconds[1:],
        "eval_seconds": [sum(row) for row in record.seconds[1:]],
        "R": record.accuracy[1:],
    }


def call(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def lay_out(folder: Path, source: Source, tasks: int) -> Path:
    """The images as both read them: a file of arrays with the permutations, and torchvision's folder of MNIST."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, x, y in (("train", source.train_x, source.train_y), ("t10k", source.test_x, source.test_y)):
        images, labels = x.reshape(-1, 28, 28).numpy(), y.numpy().astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(labels)) + labels.tobytes())
    rng = np.random.RandomState(0)  # avalanche's own draws
    np.savez(
        folder / "data.npz",
        x_train=source.train_x.flatten(1).numpy(),
        y_train=source.train_y.numpy(),
        x_test=source.test_x.flatten(1).numpy(),
        y_test=source.test_y.numpy(),
        permutations=np.stack([rng.permutation(784) for _ in range(tasks)]),
    )
    return folder / "data.npz"


def commands(said: argparse.Namespace, data: Path, method: str) -> tuple[list[str], list[str]]:
    """Ours and theirs."""
    strength = METHODS[method][1]
    theirs = [said.peer, str(HERE / "peers_avalanche.py"), "--data", str(data), "--method", method]
    theirs += ["--threads", str(said.threads), "--lr", "0.1", "--batch-size", "10" if said.online else "128"]
    theirs += ["--hidden", "100,100" if said.online else "256,256"]
    theirs += ["--benchmark", said.benchmark, "--root", str(data.parent)]
    theirs += ["--strength", str(strength)] if strength is not None else []
    mine = [sys.executable, __file__, "--threads", str(said.threads), "--ours", str(data), method]
    return mine + ["--benchmark", said.benchmark] + ["--online"] * said.online, theirs


def compared(said: argparse.Namespace, data: Path, method: str) -> dict[str, Any]:
    """The two in turn."""
    mine, theirs = commands(said, data, method)
    found = []
    for _ in range(said.pairs):
        a, b = call(mine), call(theirs)
        found.append((a, b))
        say(f"{method}: {_work(a):.1f} s against {_work(b):.1f} s")
    ours, others = ([pair[k] for pair in found] for k in (0, 1))
    return {
        "tasks": said.tasks,
        **ratios([_work(b) / _work(a) for a, b in found]),
        "pairs": len(found),
        "ours": {clock: _told(ours, clock) for clock in CLOCKS},
        "theirs": {clock: _told(others, clock) for clock in CLOCKS},
        "acc_ours": float(np.mean(ours[0]["R"][-1])),
        "acc_theirs": float(np.mean(others[0]["R"][-1])),
    }


def main() -> None:
    bench = Benchmark("peers", __doc__, pairs=2, source="mnist", threads=2)
    bench.flag("--peer", help="the python of an environment with avalanche-lib")
    bench.flag("--methods", default="finetune,ewc")
    bench.flag("--benchmark", choices=("classic", "tensors"), default="classic")
    bench.flag("--online", action="store_true", help="batch 10, 1,000 images a task")
    bench.flag("--tasks", type=int, default=10)
    bench.flag("--ours", nargs=2, metavar=("DATA", "METHOD"), help=argparse.SUPPRESS)
    said = bench.said
    if said.ours:
        data, method = said.ours
        print(json.dumps(ours(Path(data), method, said.threads, said.online, said.benchmark == "classic")))
        return
    if not said.peer:
        bench.parser.error("--peer: expected the python of an environment with avalanche-lib 0.6.0 (see above)")
    import torch

    from lifelong.streams import load

    source = load(said.source)
    if said.online:
        kept = torch.randperm(len(source.train_y), generator=torch.Generator().manual_seed(0))[:1000]
        source = replace(source, train_x=source.train_x[kept], train_y=source.train_y[kept])
    jobs: dict[str, Any] = bench.before().get("jobs", {})
    with tempfile.TemporaryDirectory() as folder:
        data = lay_out(Path(folder), source, said.tasks)
        for method in said.methods.split(","):
            r = jobs[f"{method}, {said.benchmark}{', online' * said.online}"] = compared(said, data, method)
            bench.save(said.threads, what="avalanche-lib 0.6.0 / library", jobs=jobs)
            say(
                f"{method}: {r['ratio_median']:.1f} times ({r['ratio_min']:.1f} to {r['ratio_max']:.1f}, {r['pairs']} pairs); "
                f"accuracy {r['acc_ours']:.3f} ours, {r['acc_theirs']:.3f} theirs"
            )


def _work(result: dict[str, Any]) -> float:
    return float(sum(result["train_seconds"]) + sum(result["eval_seconds"]))


def _told(results: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(np.sum(r[key]) for r in results))


if __name__ == "__main__":
    main()
