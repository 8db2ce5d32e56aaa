"""The GEM paper's MNIST tasks (arXiv 1706.08840): twenty rotations and twenty permutations of 1,000 images, batch 10.

Table 3: rotations at 1, 2 and 5 epochs, accuracy and backward transfer. The learning rates and EWC's memory are those of the
authors' script; their EWC squares the gradient of the memory's mean loss, so that its strength does not carry over: ours is chosen on
held-out images. Weights begin as theirs (Glorot & Bengio's uniform, biases 0). "single shuffled" is joint training; "multimodal" has an input layer a task, told to it at test time as well, as is
"independent", whose networks have the T-th part of the hidden units and begin as the last task's ended, as in their script ("anew": from new weights). Single runs there; here several seeds, and the verdict is whether their number lies in our 95% interval widened by half a point for their
rounding.

Permutations (their figure 1 shows curves and no numbers): ours are printed, and drawn over the tasks.

    LIFELONG_DATA=... python benchmarks/gem.py [--seeds 3] [--jobs 2] [--epochs 1,2,5] [--methods gem,independent]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from environment import DOCS, RESULTS, save
from lifelong import (
    EWC,
    GEM,
    MLP,
    Finetune,
    Independent,
    JointOnce,
    Method,
    RMatrix,
    Stream,
    Training,
    choose,
    fit,
    interval,
    permuted,
    rotated,
)
from lifelong.report import figures, look, words


@dataclass(frozen=True)
class Glorot:
    """A network whose weights begin uniform in ±√(6 / (inputs + outputs)), its biases at 0."""

    net: MLP

    def __call__(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        net = self.net(shape, outputs)
        net.apply(_glorot)
        return net


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


NET = Glorot(MLP((100, 100)))
SMALL = Glorot(MLP((5, 5)))  # the T-th part, for "independent"
STREAMS: dict[str, Callable[..., Stream]] = {
    "rotations": partial(rotated, "mnist", tasks=20, examples=1000),
    "permutations": partial(permuted, "mnist", tasks=20, examples=1000),
}
# rotations, permutations: the authors' run_experiments.sh
LR = {
    "single": (0.003, 0.03),
    "single shuffled": (0.003, 0.03),
    "independent": (0.1, 0.03),
    "independent anew": (0.1, 0.03),
    "multimodal": (0.1, 0.1),
    "ewc": (0.01, 0.1),
    "gem": (0.1, 0.1),
}
GRID = (1.0, 10.0, 100.0, 1000.0)
# accuracy and backward transfer at 1, 2 and 5 epochs; None: not in their table
PUBLISHED = {
    "single shuffled": {1: (0.83, None), 2: (0.87, None), 5: (0.89, None)},
    "single": {1: (0.53, -0.08), 2: (0.49, -0.25), 5: (0.43, -0.40)},
    "multimodal": {1: (0.76, -0.02), 2: (0.72, -0.11), 5: (0.59, -0.28)},
    "independent": {1: (0.56, None), 2: (0.64, None), 5: (0.67, None)},
    "independent anew": {},
    "ewc": {1: (0.55, -0.19), 2: (0.59, -0.17), 5: (0.61, -0.11)},
    "gem": {1: (0.86, 0.05), 2: (0.88, 0.02), 5: (0.89, -0.02)},
}


def run(method: Method, name: str, stream: str, epochs: int, seed: int) -> list[list[float]]:
    torch.set_num_threads(1)
    lr = LR[name][list(STREAMS).index(stream)]
    training = Training(lr=lr, batch_size=10, epochs=epochs)
    R: list[list[float]] = (
        fit(
            method,
            SMALL if name.startswith("independent") else NET,
            STREAMS[stream](seed=seed),
            seeds=[seed],
            training=training,
        )
        .matrix(seed=seed)
        .R.tolist()
    )
    return R


def multimodal(stream: str, epochs: int, seed: int) -> list[list[float]]:
    """R of one network with an input layer for each task, trained on the tasks in turn."""
    torch.set_num_threads(1)
    tasks = STREAMS[stream](seed=seed)
    lr = LR["multimodal"][list(STREAMS).index(stream)]
    torch.manual_seed(seed)
    inputs = [nn.Linear(784, 100) for _ in tasks]
    rest = nn.Sequential(nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    for module in (*inputs, *rest):
        _glorot(module)
    train = [next(t.train.all(len(t.train))) for t in tasks]
    test = [next(t.test.all(len(t.test))) for t in tasks]

    @torch.no_grad()
    def accuracies() -> list[float]:
        return [
            float((rest(layer(x.flatten(1))).argmax(1) == y).float().mean()) for layer, (x, y, _) in zip(inputs, test)
        ]

    R = [accuracies()]
    for layer, (x, y, _) in zip(inputs, train):
        optimizer = torch.optim.SGD([*layer.parameters(), *rest.parameters()], lr)
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(10):
                optimizer.zero_grad()
                F.cross_entropy(rest(layer(x[rows].flatten(1))), y[rows]).backward()
                optimizer.step()
        R.append(accuracies())
    return R


def agrees(ours: list[float], theirs: float | None) -> str:
    if theirs is None:
        return ""
    found = interval(ours)
    return "agrees" if abs(found.mean - theirs) <= found.half + 0.005 else "differs"


def draw(found: dict[str, list[list[list[float]]]]) -> bytes:
    """R of each seed, by method."""
    style = figures.colours(list(found))
    with figures.drawing():
        figure = figures.new(7.6, 6.4)
        axes = figure.subplots(2, 1, sharex=True, sharey=True)
        drawn, ends = [], []
        for name, runs in found.items():
            R = np.array(runs)
            T = R.shape[2]
            learnt = np.arange(1, T + 1)
            so_far = np.stack([R[:, t, :t].mean(1) for t in learnt], 1)
            for k, values in enumerate((R[:, 1:, 0], so_far)):
                drawn.append(look.spread(axes[k], learnt, values, style[name]))
                end = float(values[:, -1].mean())
                ends.append((k, (T, end, f"{name} {end:.2f}", style[name][0])))
        low, high = look.limits(*drawn)
        for ax, title in zip(axes, ("the first task", "mean over all tasks so far")):
            ax.set_title(title, loc="left")
            ax.set(xlim=(1, T), xticks=[1, *look.ticks(T)], ylabel=look.from_where("accuracy", low))
            look.value_axis(ax, low, high, 6)
            ax.grid(axis="y")
        axes[1].set_xlabel("tasks learnt")
        look.footnote(figure, words.drawn([len(runs) for runs in found.values()], "Bands", "Thin lines"))
        for k, ax in enumerate(axes):
            look.name_ends(figure, ax, [end for j, end in ends if j == k])
    return figures.png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", default="1,2,5")
    parser.add_argument("--methods", help="only these; the others' cells stay as they were measured")
    parser.add_argument("--draw", action="store_true", help="draw the picture again from results/, and measure nothing")
    said = parser.parse_args()
    if said.draw:
        (DOCS / "gem-permutations.png").write_bytes(
            draw(json.loads((RESULTS / "gem.json").read_text())["permutations"])
        )
        return
    wanted = said.methods.split(",") if said.methods else list(PUBLISHED)
    before: dict[str, Any] = json.loads((RESULTS / "gem.json").read_text()) if said.methods else {}
    epochs = [int(e) for e in said.epochs.split(",")]
    chosen = {}
    for i, (stream, build) in enumerate(STREAMS.items() if "ewc" in wanted else ()):
        training = Training(lr=LR["ewc"][i], batch_size=10)
        make = partial(EWC, implicit=True)
        chosen[stream] = choose(make, GRID, NET, build(seed=1000), training, seeds=[1000], jobs=said.jobs)
        print(stream, chosen[stream], file=sys.stderr, flush=True)
    table: dict[str, dict[str, dict[str, object]]] = before.get("table", {})
    strengths = before.get("strengths", {}) | {s: c._asdict() for s, c in chosen.items()}
    permutations: dict[str, list[list[list[float]]]] = before.get("permutations", {})  # R of each seed, which is drawn
    with ProcessPoolExecutor(said.jobs, mp_context=get_context("spawn")) as pool:
        asked: dict[tuple[str, str, int], list[Future[list[list[float]]]]] = {}
        for stream in STREAMS:
            methods: dict[str, Method] = {
                "single": Finetune(),
                "single shuffled": JointOnce(),
                "gem": GEM(256, 0.5),
            }
            if "ewc" in wanted:
                methods["ewc"] = EWC(chosen[stream].value, implicit=True)
            if stream == "rotations":
                methods["independent"] = Independent(oracle=True, inherit=True)
                methods["independent anew"] = Independent(oracle=True)
            for name, method in ((n, m) for n, m in methods.items() if n in wanted):
                for e in epochs if stream == "rotations" else [1]:
                    asked[stream, name, e] = [
                        pool.submit(run, method, name, stream, e, seed) for seed in range(said.seeds)
                    ]
            for e in () if "multimodal" not in wanted else epochs if stream == "rotations" else [1]:
                asked[stream, "multimodal", e] = [
                    pool.submit(multimodal, stream, e, seed) for seed in range(said.seeds)
                ]
        for (stream, name, e), futures in asked.items():
            found = [RMatrix(np.array(f.result())) for f in futures]
            acc, bwt = [r.acc for r in found], [r.bwt for r in found]
            theirs = PUBLISHED[name].get(e, (None, None)) if stream == "rotations" else (None, None)
            table.setdefault(stream, {})[f"{name}, {e}"] = {
                "acc": interval(acc)._asdict(),
                "bwt": interval(bwt)._asdict(),
                "published": theirs,
                "verdict": [agrees(acc, theirs[0]), agrees(bwt, theirs[1])],
            }
            if stream == "permutations":
                permutations[{"single": "finetune"}.get(name, name)] = [r.R.tolist() for r in found]
            print(stream, name, e, interval(acc), interval(bwt), file=sys.stderr, flush=True)
            save(
                "gem",
                1,
                seeds=said.seeds,
                net=str(NET),
                strengths=strengths,
                table=table,
                permutations=permutations,
            )
    (DOCS / "gem-permutations.png").write_bytes(draw(permutations))


if __name__ == "__main__":
    main()
