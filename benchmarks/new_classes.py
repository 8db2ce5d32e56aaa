"""New classes on frozen features: CIFAR-100 in steps of ten classes, and half of it followed by one class at a time.

Images are seen once by EfficientNet-Lite0 (ImageNet, frozen, at 64 pixels; the extra ``vision``): 250 training and 50 test images a class.
What learns is an MLP on the 1,280 features. Our own reference: iCaRL's numbers are of a network trained on the images.

Steps of ten: accuracy averaged over the steps, on all classes so far (as in iCaRL's table 1), and at the end; iCaRL, its paper's hybrids
in the paper's order, LwF.MC, fine-tuning, LwF, generative replay, nearest mean and neighbour, SLDA, RanPAC, joint training.

One at a time: FearNet's measures Ω (50 classes first, then 50 sessions of one). FearNet's constants are ours, so nothing is held against
its table.

    LIFELONG_DATA=... python benchmarks/new_classes.py [--seeds 3] [--jobs 2] [--keep FOLDER] [--parts steps,one_by_one] [--methods FearNet,SLDA]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from harness import Benchmark, over_seeds, plain, say
from lifelong import (
    MLP,
    SLDA,
    FearNet,
    Finetune,
    GenerativeReplay,
    ICaRL,
    Joint,
    JointOnce,
    LwF,
    Method,
    NearestMean,
    NearestNeighbour,
    RanPAC,
    Stream,
    Task,
    Tensors,
    Training,
    efficientnet_lite0,
    featured,
    fit,
    split,
)

NET = MLP((256, 64))
TRAINING = Training(optimizer="adam", lr=0.001, batch_size=64, epochs=10)
SLOTS = 2000
STEPS: dict[str, Method] = {
    "iCaRL": ICaRL(SLOTS),
    "hybrid 1": ICaRL(SLOTS, classifier="network"),
    "hybrid 2": ICaRL(SLOTS, distil=False),
    "hybrid 3": ICaRL(SLOTS, classifier="network", distil=False),
    "LwF.MC": ICaRL(0, classifier="network"),
    "fine-tuning": Finetune(),
    "LwF": LwF(),
    "generative replay": GenerativeReplay(hidden=(400,), code=50),
    "nearest mean": NearestMean(),
    "nearest neighbour": NearestNeighbour(),
    "SLDA": SLDA(),
    "RanPAC": RanPAC(),
    "joint": Joint(),
}
ONE_BY_ONE: dict[str, Method] = {
    "FearNet": FearNet(),
    "FearNet (gate of inputs)": FearNet(gate="input"),
    "iCaRL": ICaRL(SLOTS),
    "nearest mean": NearestMean(),
    "nearest neighbour": NearestNeighbour(),
    "SLDA": SLDA(),
    "RanPAC": RanPAC(),
    "fine-tuning": Finetune(),
}


@cache
def features(keep: Path) -> Stream:
    """CIFAR-100, a class a task."""
    return featured(
        split("cifar100", tasks=100, examples=250, test_examples=50), efficientnet_lite0(64), keep, watch=_tell
    )


def classes(keep: Path, seed: int) -> Stream:
    """In an order of the seed."""
    return features(keep).reorder(np.random.default_rng(seed).permutation(100).tolist())


def _tell(done: int, total: int) -> None:
    if done // 2000 != (done - 256) // 2000 or done == total:
        say(f"features: {done}/{total}")


def merged(stream: Stream, sizes: list[int]) -> Stream:
    """The tasks of `stream` joined, as many as `sizes` says at a time."""
    tasks, start = [], 0
    for n in sizes:
        parts = stream.tasks[start : start + n]
        start += n

        def together(which: str, parts: tuple[Task, ...] = parts) -> Tensors:
            found = [getattr(p, which) for p in parts]
            return Tensors(torch.cat([f.x for f in found]), torch.cat([f.labels for f in found]))

        every = tuple(sorted(c for p in parts for c in p.classes))
        tasks.append(Task(f"{n} classes to {start}", together("train"), together("test"), every))
    return replace(stream, tasks=tuple(tasks))


def steps(method: Method, keep: Path, seed: int) -> dict[str, float]:
    R = fit(method, NET, merged(classes(keep, seed), [10] * 10), seeds=[seed], training=TRAINING).matrix(seed=seed).R
    return {"average": float(np.mean([R[i, :i].mean() for i in range(1, 11)])), "end": float(R[-1].mean())}


@cache
def ideal(keep: Path, seed: int) -> float:
    """Accuracy of joint training on all classes."""
    run = fit(JointOnce(), NET, merged(classes(keep, seed), [100]), seeds=[seed], training=TRAINING)
    return run.matrix(seed=seed).acc


def one_by_one(method: Method, keep: Path, seed: int) -> dict[str, float]:
    sizes = [50] + [1] * 50
    stream, best = merged(classes(keep, seed), sizes), ideal(keep, seed)
    R = fit(method, NET, stream, seeds=[seed], training=TRAINING).matrix(seed=seed)
    base, new, every = R.omega(best, sizes)
    return {"base": base, "new": new, "all": every, "end": float(np.average(R.R[-1], weights=sizes)), "ideal": best}


PARTS: dict[str, tuple[Callable[..., dict[str, float]], dict[str, Method]]] = {
    "steps": (steps, STEPS),
    "one_by_one": (one_by_one, ONE_BY_ONE),
}


def main() -> None:
    bench = Benchmark("new_classes", __doc__, seeds=3, jobs=2, methods=None)
    bench.flag("--keep", type=Path, default=Path("features"), help="where features are kept")
    bench.flag("--parts", default="steps,one_by_one", help="only these; the other stays as it was measured")
    said, seeds = bench.said, range(bench.said.seeds)
    wanted = said.methods.split(",") if said.methods else [n for _, methods in PARTS.values() for n in methods]
    classes(said.keep, 0)  # once, before the processes share it
    found: dict[str, dict[str, dict[str, object]]] = bench.before().get("found", {})
    with bench.runs() as runs:
        for part in (name for name in PARTS if name in said.parts.split(",")):
            job, methods = PARTS[part]
            chosen = {n: m for n, m in methods.items() if n in wanted}
            cells = runs(job, {(n, s): (m, said.keep, s) for n, m in chosen.items() for s in seeds})
            measured = {n: over_seeds([cells[n, s] for s in seeds]) for n in chosen}
            for n, cell in measured.items():
                say(part, n, {k: str(i) for k, i in cell.items()})
            every = found.get(part, {}) | {n: plain(cell) for n, cell in measured.items()}
            found[part] = {n: every[n] for n in methods if n in every}
            bench.save(1, seeds=said.seeds, net=str(NET), training=str(TRAINING), slots=SLOTS, found=found)


if __name__ == "__main__":
    main()
