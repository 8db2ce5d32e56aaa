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

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness import Benchmark, Runs, plain, say
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
from lifelong.runs.choose import Choice


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


Found = dict[tuple[str, str, int], list[RMatrix]]


def run(method: Method, name: str, stream: str, epochs: int, seed: int) -> list[list[float]]:
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


def methods_of(stream: str, strengths: dict[str, Choice]) -> dict[str, Method]:
    found: dict[str, Method] = {"single": Finetune(), "single shuffled": JointOnce(), "gem": GEM(256, 0.5)}
    if stream in strengths:
        found["ewc"] = EWC(strengths[stream].value, implicit=True)
    if stream == "rotations":
        found["independent"] = Independent(oracle=True, inherit=True)
        found["independent anew"] = Independent(oracle=True)
    return found


def strengths_of(runs: Runs, jobs: int) -> dict[str, Choice]:
    """EWC's on each stream, on held-out images."""

    def choice(stream: str, lr: float) -> Choice:
        make, training = partial(EWC, implicit=True), Training(lr=lr, batch_size=10)
        return choose(make, GRID, NET, STREAMS[stream](seed=1000), training, seeds=[1000], jobs=jobs)

    return runs.choices("strengths", lambda: {s: choice(s, LR["ewc"][i]) for i, s in enumerate(STREAMS)})


def measured(runs: Runs, wanted: list[str], epochs: list[int], strengths: dict[str, Choice], seeds: int) -> Found:
    """R of each seed of each cell: stream, method, epochs."""
    units, alone = {}, {}
    for stream in STREAMS:
        rounds = list(itertools.product(epochs if stream == "rotations" else [1], range(seeds)))
        for name, method in methods_of(stream, strengths).items():
            if name in wanted:
                units |= {(stream, name, e, seed): (method, name, stream, e, seed) for e, seed in rounds}
        if "multimodal" in wanted:
            alone |= {(stream, "multimodal", e, seed): (stream, e, seed) for e, seed in rounds}
    R: Found = {}
    for (stream, name, e, _), found in {**runs(run, units), **runs(multimodal, alone)}.items():
        R.setdefault((stream, name, e), []).append(RMatrix(np.array(found)))
    return R


def cell(stream: str, name: str, epochs: int, found: list[RMatrix]) -> dict[str, object]:
    """What results/ holds of a cell, and whether their number agrees."""
    acc, bwt = [r.acc for r in found], [r.bwt for r in found]
    theirs = PUBLISHED[name].get(epochs, (None, None)) if stream == "rotations" else (None, None)
    say(stream, name, epochs, interval(acc), interval(bwt))
    return {
        "acc": interval(acc)._asdict(),
        "bwt": interval(bwt)._asdict(),
        "published": theirs,
        "verdict": [agrees(acc, theirs[0]), agrees(bwt, theirs[1])],
    }


def main() -> None:
    bench = Benchmark("gem", __doc__, seeds=3, jobs=2, methods=None, draws=True)
    bench.flag("--epochs", default="1,2,5")
    said = bench.said
    if said.draw:
        bench.picture("gem-permutations.png", draw(bench.before()["permutations"]))
        return
    wanted = said.methods.split(",") if said.methods else list(PUBLISHED)
    before: dict[str, Any] = bench.before() if said.methods else {}
    table: dict[str, dict[str, dict[str, object]]] = before.get("table", {})
    permutations: dict[str, list[list[list[float]]]] = before.get("permutations", {})  # R of each seed, which is drawn
    with bench.runs() as runs:
        chosen = strengths_of(runs, said.jobs) if "ewc" in wanted else {}
        found = measured(runs, wanted, [int(e) for e in said.epochs.split(",")], chosen, said.seeds)
    for (stream, name, e), own in found.items():
        table.setdefault(stream, {})[f"{name}, {e}"] = cell(stream, name, e, own)
        if stream == "permutations":
            permutations[{"single": "finetune"}.get(name, name)] = [r.R.tolist() for r in own]
    bench.save(
        1,
        seeds=said.seeds,
        net=str(NET),
        strengths=before.get("strengths", {}) | plain(chosen),
        table=table,
        permutations=permutations,
    )
    bench.picture("gem-permutations.png", draw(permutations))


if __name__ == "__main__":
    main()
