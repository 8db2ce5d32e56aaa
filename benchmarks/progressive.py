"""Progressive networks on permuted MNIST with task ids, beside what else the same parameters, or fewer, buy.

One pass over each task, columns 784-256-256-10. Beside them: one network fine-tuned, one with EWC, EWC with growth on demand, PackNet, HAT,
Expert Gate, a network a task, and one wide network with as many parameters as all columns have. Then the paper's controls, from one
rotation of the digits to another: the head alone, the whole network, a random frozen column, a column that reads a trained one.
Last, which columns a new one reads: the Fisher information of each connection's weights times their square, by layer, as shares.

Each run is kept in a folder as it goes, so that what was stopped goes on from there. The wide network alone takes longer than all others
together.

    LIFELONG_DATA=... python benchmarks/progressive.py [--seeds 3] [--tasks 10] [--examples 60000] [--work FOLDER]
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from harness import Benchmark, Runs, say
from lifelong import (
    EWC,
    HAT,
    MLP,
    ExpertGate,
    Finetune,
    Grow,
    Independent,
    Learner,
    Method,
    PackNet,
    Progressive,
    Stream,
    Training,
    chain,
    choose,
    fit,
    interval,
    paired,
    permuted,
    rotated,
)
from lifelong.core.contexts import TaskContext
from lifelong.core.growth import Growth
from lifelong.core.objective import Classification
from lifelong.core.random import derive, generator
from lifelong.nets.columns import Columns
from lifelong.parts.fisher import fisher
from lifelong.report import figures, look, words
from lifelong.runs.choose import Choice
from lifelong.training.build import learner_for

NET, TRAINING = MLP((256, 256)), Training(lr=0.05, batch_size=10, epochs=1)
GRID = (1.0, 10.0, 100.0)
AT = (25, 50, 100, 200)  # iterations on the second rotation


def width(parameters: int, outputs: int) -> int:
    """Units of each of two hidden layers, so that 784-w-w-outputs has about that many weights."""
    w = 1
    while 784 * w + w * w + outputs * w + 2 * w + outputs < parameters:
        w += 1
    return w


def controls(seed: int, source: str) -> dict[str, list[float]]:
    """Accuracy on the second of two rotations after some iterations on 2,000 of its images."""
    stream = rotated(source, tasks=2, seed=seed, scenario="task", examples=2000, max_degrees=90.0, protocol="even")
    first = learner_for(Finetune(), NET, stream, TRAINING, seed)
    first.learn(stream[0])
    fresh = learner_for(Finetune(), NET, stream, TRAINING, seed + 1000).net  # other initial weights

    def column(net: nn.Module) -> nn.Module:
        made = Columns(copy.deepcopy(net))
        made.grow(Growth("column", seed=derive(seed, "column/1")))
        return made

    def head(net: nn.Module) -> nn.Module:
        net = copy.deepcopy(net)
        last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        net.requires_grad_(False)
        last.requires_grad_(True)
        return net

    arms = {
        "its own network": lambda: copy.deepcopy(fresh),
        "head alone": lambda: head(first.net),
        "whole network": lambda: copy.deepcopy(first.net),
        "random frozen column": lambda: column(fresh),
        "progressive": lambda: column(first.net),
    }
    found: dict[str, list[float]] = {}
    for name, make in arms.items():
        found[name] = []
        for n in AT:  # the order depends on the seed alone, so the longer runs go on from the shorter
            training = Training(lr=TRAINING.lr, batch_size=TRAINING.batch_size, iterations=n)
            learner = Learner(make(), Finetune(), training, scenario="task", seed=seed)
            learner.learn(stream[1])
            found[name].append(learner.evaluate(stream)[1][0])
    return found


def connections(stream: Stream, seed: int) -> dict[str, list[list[float]]]:
    """For each layer and task: the share of each earlier column, and of the task's own, in Σ F θ²."""
    learner = learner_for(Progressive(), NET, stream, TRAINING, seed)
    found: dict[str, list[list[float]]] = {}
    for k, task in enumerate(stream):
        learner.learn(task)
        net = learner.net
        assert isinstance(net, Columns)
        draws = generator(seed, f"fisher/{k}")
        context = TaskContext(net, learner.theta, task.train, Classification(), k, task, draws, learner.reset)
        F = fisher(context, "exact", limit=100)
        for i in net.beside if k else ():
            weight = F[f"columns.{k}.{i}.weight"] * learner.theta[f"columns.{k}.{i}.weight"].detach().square()
            lateral = F[f"laterals.{k}.{i}.V.weight"] * learner.theta[f"laterals.{k}.{i}.V.weight"].detach().square()
            parts = [float(part.sum()) for part in lateral.chunk(k, 1)] + [float(weight.sum())]
            found.setdefault(f"layer {net.beside.index(i) + 2}", []).append([p / sum(parts) for p in parts])
    return found


def picture(table: dict[str, Any], seeds: int) -> bytes:
    """ACC against parameters, as multiples of one network's."""
    style = figures.colours(list(table))
    points, drawn = [], []
    with figures.drawing():
        figure = figures.new(7.6, 4.6)
        ax = figure.subplots()
        for name, cell in table.items():
            x, y, colour = cell["parameters"]["mean"], cell["acc"]["mean"], style[name][0]
            if seeds >= words.FEW:
                ax.errorbar(x, y, cell["acc"]["half"], fmt="none", ecolor=colour, elinewidth=1.4)
                drawn += [y - cell["acc"]["half"], y + cell["acc"]["half"]]
            each = cell.get("each", []) if seeds < words.FEW else []
            ax.plot([x] * len(each), each, "o", color=colour, ms=3.5, alpha=0.6, mew=0)
            ax.plot(x, y, "o", color=colour, ms=8, mec=figures.PAPER)
            points.append((x, y, name, colour))
            drawn += [y, *each]
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        ax.set_xlim(0.7, 2 * max(x for x, *_ in points))
        low, high = look.limits(drawn)
        look.value_axis(ax, low, high, 6)
        ax.set(
            xlabel="parameters at the end, in those of one network (log)",
            ylabel=look.from_where("mean accuracy over the tasks", low),
        )
        ax.grid(axis="y")
        note = words.drawn([seeds], "Lines", "Small dots")
        look.footnote(
            figure,
            note
            if "each" in cell or seeds >= words.FEW
            else f"Means over {seeds} seeds; their intervals stand in the table.",
        )
        look.name_points(figure, ax, points)
    return figures.png(figure)


def used(shares: dict[str, list[list[float]]]) -> bytes:
    """A map for each layer: a row a task, a column for each of the earlier columns; what is missing to 1 is its own."""
    most = max(share for rows in shares.values() for row in rows for share in row[:-1])
    with figures.drawing():
        figure = figures.new(7.6, 3.7)
        panels = figure.subplots(1, len(shares), squeeze=False, sharey=True)
        for ax, (layer, rows) in zip(panels.flat, shares.items()):
            T = len(rows)
            M = np.full((T, T), np.nan)
            for k, row in enumerate(rows):
                M[k, : k + 1] = row[:-1]
            image = ax.imshow(np.ma.masked_invalid(M), cmap="cividis", vmin=0, vmax=most)
            ax.set(xlabel="column that is read")
            ax.set_title(layer, loc="left")
            ax.set_xticks(range(T), [str(t + 1) for t in range(T)])
            ax.set_yticks(range(T), [str(t + 2) for t in range(T)])
            ax.spines[:].set_visible(False)
            ax.tick_params(length=0)
        panels[0, 0].set_ylabel("task that reads")
        bar = figure.colorbar(image, ax=panels, shrink=0.9, aspect=25, label="share of Σ Fθ²")
        bar.outline.set_visible(False)
    return figures.png(figure)


WIDE = "one wide network"
Row = tuple[float, float, int]  # ACC, accuracy right after learning, parameters at the end


def trained(name: str, method: Method, units: int, seed: int, work: tuple[str, int, int, Path]) -> Row:
    """A run, kept in a folder of its own as it goes."""
    source, tasks, examples, folder = work
    stream = permuted(source, tasks=tasks, seed=seed, scenario="task", examples=examples)
    out = folder / f"{source}-{tasks}-{examples}" / f"{name}-{seed}"
    found = fit(method, MLP((units, units)), stream, seeds=[seed], training=TRAINING, out=out, every=300.0)
    [record] = found.records.values()
    return record.matrix.acc, record.matrix.learning_accuracy, record.parameters[-1]


def every(runs: Runs, ewc: EWC, seeds: int, outputs: int, work: tuple[str, int, int, Path]) -> dict[str, list[Row]]:
    """Rows of all methods, and last of the wide network."""
    methods: dict[str, Method] = {
        "finetune": Finetune(),
        "ewc": ewc,
        "ewc+grow": chain(ewc, Grow(threshold=0.9, times=2)),
        "packnet": PackNet(),
        "hat": HAT(),
        "progressive": Progressive(),
        "expert_gate": ExpertGate(),
        "independent": Independent(),
    }

    def rows(name: str, method: Method, units: int) -> list[Row]:
        found = runs(trained, {(name, units, seed): (name, method, units, seed, work) for seed in range(seeds)})
        say(name, [*found.values()])
        return [*found.values()]

    found = {name: rows(name, method, NET.hidden[0]) for name, method in methods.items()}
    wide = width(int(found["progressive"][0][2]), outputs)
    return {**found, WIDE: rows(WIDE, Finetune(), wide)}


def tabled(rows: dict[str, list[Row]]) -> dict[str, Any]:
    one = rows["finetune"][0][2]
    return {
        n: {
            "acc": interval([a for a, _, _ in r])._asdict(),
            "each": [a for a, _, _ in r],
            "learning_accuracy": interval([b for _, b, _ in r])._asdict(),
            "parameters": interval([p / one for _, _, p in r])._asdict(),
        }
        for n, r in rows.items()
    }


def main() -> None:
    bench = Benchmark("progressive", __doc__, seeds=3, source="mnist", jobs=1, draws=True)
    bench.flag("--tasks", type=int, default=10)
    bench.flag("--examples", type=int, default=60_000)
    said, seeds = bench.said, range(bench.said.seeds)
    if said.draw:
        r = bench.before()
        bench.picture("parameters.png", picture(r["table"], r["seeds"]))
        bench.picture("columns.png", used(r["shares"]))
        return

    def stream(seed: int) -> Stream:
        return permuted(said.source, tasks=said.tasks, seed=seed, scenario="task", examples=said.examples)

    def strength() -> Choice:
        return choose(partial(EWC, implicit=True), GRID, NET, stream(1000), TRAINING, seeds=[1000], extend=1)

    with bench.runs(said.source, said.tasks, said.examples) as runs:
        chosen = runs.choices("strength", lambda: {"ewc": strength()})["ewc"]
        work = (said.source, said.tasks, said.examples, said.work.resolve())
        rows = every(runs, EWC(chosen.value, implicit=True), said.seeds, stream(0).outputs, work)
        curves = [*runs(controls, {seed: (seed, said.source) for seed in seeds}).values()]
        shares = runs.once("connections", lambda: connections(stream(0), 0))
    acc = {n: [a for a, _, _ in r] for n, r in rows.items()}
    bench.picture("parameters.png", picture(tabled(rows), said.seeds))
    bench.picture("columns.png", used(shares))
    bench.save(
        1,
        **bench.recipe,
        training=str(TRAINING),
        net=str(NET),
        wide=width(int(rows["progressive"][0][2]), stream(0).outputs),
        one=rows["finetune"][0][2],
        strength=chosen._asdict(),
        table=tabled(rows),
        progressive_minus={n: paired(acc["progressive"], acc[n])._asdict() for n in acc if n != "progressive"},
        at=AT,
        controls={n: [interval([c[n][i] for c in curves])._asdict() for i in range(len(AT))] for n in curves[0]},
        shares=shares,
    )


if __name__ == "__main__":
    main()
