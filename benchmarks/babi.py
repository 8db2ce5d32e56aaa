"""The twenty bAbI tasks (arXiv 1502.05698) with the memory network (arXiv 1503.08895): learnt together, and one after another.

*joint*: 3 hops, position encoding, linear start, random noise, adjacent tying, d = 50, the recipe of the authors' code: 900 questions
a task (a tenth is held out), batch 32, 30 epochs without the softmax and 60 with it, learning rate 0.005 for summed losses (0.16 for
means) halved every 15 epochs, gradients clipped at a norm of 40 (1.25); of several restarts that with the least training error.
Where it differs: batches are drawn without replacement, J of the position encoding is the
sentence's own length, times are added and not encoded as a word, and the norm is that of all weights together. The verdict asks
whether the mean error is at most three points above the published one.

*each*: one network a task, d = 20, 20 epochs without the softmax and 100 with it, halved every 25; the rest as above, restarts chosen task by
task.

*sequence*: the tasks in order 1 to 20, R of each method; EWC's strength from a grid on held-out training data. *transfer*: what one
earlier kind, learnt beforehand, does for task 10. *speed*: joint training, questions a second beside a loop by hand.

    LIFELONG_DATA=... python benchmarks/babi.py joint [--restarts 10]
    LIFELONG_DATA=... python benchmarks/babi.py each [--restarts 10]
    LIFELONG_DATA=... python benchmarks/babi.py sequence [--methods finetune,ewc,lwf,replay,agem,gem,joint] [--epochs 10]
    LIFELONG_DATA=... python benchmarks/babi.py transfer [--seeds 3]
    LIFELONG_DATA=... python benchmarks/babi.py speed [--pairs 7]

Each part adds to results/babi.json and draws its pictures; parts that are there already stay, and so do restarts and methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from harness import Benchmark, pairs, say
from lifelong import (
    AGEM,
    EWC,
    GEM,
    Finetune,
    Joint,
    Learner,
    LwF,
    Method,
    Replay,
    Stream,
    Task,
    Training,
    choose,
    fit,
    interval,
)
from lifelong.core.examples import Joined
from lifelong.nets import MemoryNetwork
from lifelong.report import figures, look
from lifelong.streams import babi
from stored import load

NET = MemoryNetwork()
LR, CLIP = 0.16, 1.25
# error in percent by task: joint training on 1,000 questions a task, the authors' Matlab code; and the means of that and of their port
PUBLISHED = [0.0, 13.1, 23.4, 5.9, 12.9, 3.7, 22.9, 9.1, 2.7, 7.2, 0.8, 0.1, 0.1, 4.2, 0.0, 1.2, 43.6, 10.5, 86.7, 0.0]
PUBLISHED_MEAN, PORT_MEAN, WITHIN = 12.4, 12.9, 3.0
EACH_MEAN, EACH_PORT = 13.8, 15.2  # a network a task
GRID = (100.0, 1000.0, 10000.0, 100000.0)
LATE = 10  # the task that transfer is measured on


# --- together -----------------------------------------------------------------------------------------------------------
def together(stream: Stream) -> Task:
    """All tasks as one."""
    classes = tuple(sorted({c for task in stream for c in task.classes}))
    return Task("all", Joined([t.train for t in stream]), Joined([t.test for t in stream]), classes)


def errors(learner: Learner, tasks: Stream | list[Task]) -> list[float]:
    return [100 * (1 - a) for a, _, _ in learner.evaluate(tasks)]


def recipe(
    net: MemoryNetwork, task: Task, seed: int, epochs: tuple[int, int], halve_every: int, outputs: int
) -> tuple[Learner, dict[str, float]]:
    """Without the softmax first, then with it; the learner, and its errors in percent on what it learnt and on what is held out."""
    torch.manual_seed(seed)
    built = net(task.train.shape, outputs)
    for linear, n, halving in ((True, epochs[0], None), (False, epochs[1], halve_every)):
        built.linear = linear
        training = Training(lr=LR, clip=CLIP, batch_size=32, epochs=n, halve_every=halving)
        learner = Learner(built, None, training, scenario="domain", seed=2 * seed + linear)
        learner.learn(task)
    [learnt], [held_out] = (errors(learner, [t]) for t in (replace(task, test=task.train, train=task.test), task))
    return learner, {"training_error": learnt, "held_out_error": held_out}


def restart(seed: int) -> dict[str, Any]:
    """One restart of the joint recipe: training error, and test error by task, in percent."""
    began = time.perf_counter()
    stream = babi("en")
    kept = together(stream.hold_out(0.1, seed=0))  # the same tenth for all restarts
    learner, found = recipe(NET, kept, seed, (30, 60), 15, stream.outputs)
    return {"seed": seed, **found, "test_errors": errors(learner, stream), "seconds": time.perf_counter() - began}


def restart_each(seed: int) -> dict[str, Any]:
    """One restart of a network a task: training and test error by task, in percent."""
    began = time.perf_counter()
    stream = babi("en")
    rows = []
    for task, whole in zip(stream.hold_out(0.1, seed=0), stream):
        learner, found = recipe(MemoryNetwork(units=20), task, seed, (20, 100), 25, stream.outputs)
        rows.append((found["training_error"], errors(learner, [whole])[0]))
    trained, test = (list(column) for column in zip(*rows))
    return {"seed": seed, "training_errors": trained, "test_errors": test, "seconds": time.perf_counter() - began}


def each(bench: Benchmark, restarts: int) -> None:
    found = bench.before().get("each", {}).get("restarts", [])
    for seed in range(len(found), restarts):
        found = [*found, restart_each(seed)]
        best = [min(found, key=lambda r: r["training_errors"][k])["test_errors"][k] for k in range(20)]
        mean = float(np.mean(best))
        verdict = "agrees" if mean <= EACH_MEAN + WITHIN else "differs"
        part = {"restarts": found, "errors": best, "mean": mean, "verdict": verdict}
        about = {"net": str(MemoryNetwork(units=20)), "published_mean": EACH_MEAN, "port": EACH_PORT}
        bench.add(1, each={**part, **about})
        say(seed, mean, verdict)


def joint(bench: Benchmark, restarts: int) -> None:
    found = bench.before().get("joint", {}).get("restarts", [])
    for seed in range(len(found), restarts):
        found = [*found, restart(seed)]
        best = min(found, key=lambda r: r["training_error"])
        mean = float(np.mean(best["test_errors"]))
        verdict = "agrees" if mean <= PUBLISHED_MEAN + WITHIN else "differs"
        part = {
            "restarts": found,
            "best": best["seed"],
            "errors": best["test_errors"],
            "mean": mean,
            "verdict": verdict,
        }
        theirs = {"published": PUBLISHED, "published_mean": PUBLISHED_MEAN, "port": PORT_MEAN}
        bench.add(1, joint={**part, "net": str(NET), **theirs})
        say(seed, best["seed"], mean, verdict)
    bench.picture("babi-joint.png", draw_bars(bench.before()["joint"]))


# --- one after another --------------------------------------------------------------------------------------------------
def sequence(bench: Benchmark, names: list[str], epochs: int, seed: int) -> None:
    stream = babi("en")
    training = Training(lr=0.32, clip=CLIP, batch_size=32, epochs=epochs)
    ewc = partial(EWC, importance="sampled", implicit=True)
    make: dict[str, Callable[[], Method]] = {
        "finetune": Finetune,
        "replay": lambda: Replay(640),
        "agem": lambda: AGEM(640, batch_size=64),
        "gem": lambda: GEM(32),
        "lwf": LwF,
        "joint": Joint,
    }
    part = bench.before().get("sequence", {"R": {}, "methods": {}, "train_seconds": {}})
    part |= {"net": str(NET), "training": str(training), "seed": seed, "tasks": [t.name for t in stream]}
    for name in names:
        if name == "ewc":
            choice = choose(ewc, GRID, NET, stream, training, seeds=[1000])
            part["strength"] = choice._asdict()
            say(choice)
            method: Method = ewc(choice.value)
        else:
            method = make[name]()
        run = fit(method, NET, stream, seeds=[seed], training=training)
        R = run.matrix(name, seed)
        part["R"][name], part["methods"][name] = R.R.tolist(), str(method)
        part["train_seconds"][name] = sum(next(iter(run.records.values())).train_seconds)
        say(name, R.acc, R.bwt)
        bench.add(1, sequence=part)
    bench.picture("babi-sequence.png", draw_sequence(bench.before()))


# --- from one kind to another -------------------------------------------------------------------------------------------
def transfer(bench: Benchmark, seeds: int, epochs: int) -> None:
    """Accuracy on task 10 when one earlier kind was learnt before it, less that without: by seed, in percent."""
    stream = babi("en")
    training = Training(lr=0.32, clip=CLIP, batch_size=32, epochs=epochs)

    def last(tasks: list[int]) -> list[float]:
        chosen = stream.subset([k - 1 for k in tasks])
        run = fit(Finetune(), NET, chosen, seeds=seeds, training=training)
        return [100 * run.matrix(seed=s).R[-1, -1] for s in range(seeds)]

    alone = last([LATE])
    gain = {}
    for k in range(1, LATE):
        gain[k] = [a - b for a, b in zip(last([k, LATE]), alone)]
        say(k, gain[k])
    bench.add(
        1,
        transfer={
            "on": stream[LATE - 1].name,
            "training": str(training),
            "seeds": seeds,
            "alone": interval(alone)._asdict(),
            "gain": {stream[k - 1].name: interval(g)._asdict() for k, g in gain.items()},
        },
    )
    bench.picture("babi-transfer.png", draw_transfer(bench.before()["transfer"]))


# --- speed --------------------------------------------------------------------------------------------------------------
def speed(bench: Benchmark, n: int, epochs: int) -> None:
    """Joint training, softmax and noise on, beside a loop that does the same arithmetic."""
    stream = babi("en").hold_out(0.1)
    task = together(stream)
    x, y = (torch.cat(parts) for parts in zip(*[(c.x, c.y) for c in task.train.all(len(task.train))]))
    training = Training(lr=LR, clip=CLIP, batch_size=32, epochs=epochs)

    def fresh() -> torch.nn.Module:
        torch.manual_seed(0)
        return NET(stream.shape, stream.outputs)

    def ours() -> None:
        Learner(fresh(), None, training, scenario="domain").learn(task)

    def by_hand() -> None:
        net = fresh().train()
        optimizer = torch.optim.SGD(net.parameters(), LR)
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(32):
                optimizer.zero_grad()
                F.cross_entropy(net(x[rows]), y[rows]).backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
                optimizer.step()

    bench.add(1, speed={**pairs(ours, by_hand, n), "questions": len(y) * epochs, "pairs": n})


# --- pictures -----------------------------------------------------------------------------------------------------------
def draw_bars(r: dict[str, Any]) -> bytes:
    with figures.drawing():
        figure = figures.new(7.6, 3.6)
        ax = figure.subplots()
        k = np.arange(1, 21)
        ours, theirs = 100 - np.array(r["errors"]), 100 - np.array(r["published"])
        ax.bar(k, ours, 0.7, color=figures.colours(["ewc"])["ewc"][0], label="ours")
        ax.plot(k, theirs, "_", color=figures.INK, ms=12, mew=2, label="published")
        ax.set(xlabel="task, all twenty learnt together", ylabel="accuracy, percent", xticks=k, ylim=(0, 105))
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.18), ncols=2, borderaxespad=0)
        ax.grid(axis="y")
        ax.tick_params(length=0)
    return figures.png(figure)


def draw_sequence(found: dict[str, Any]) -> bytes:
    """A panel for each of the twenty tasks, all with the same axes."""
    r, together_ = found["sequence"], found.get("joint")
    style = figures.colours(list(r["R"]))
    T = len(r["tasks"])
    with figures.drawing():
        figure = figures.new(7.6, 9.2)
        panels = figure.subplots(T // 4, 4, sharex=True, sharey=True)
        for k, (ax, task) in enumerate(zip(panels.flat, r["tasks"]), start=1):
            ax.axvspan(k - 1, k, color=figures.GRID, alpha=0.7, lw=0)
            for name, R in r["R"].items():
                colour, dash = style[name]
                ax.plot(range(T + 1), 100 * np.array(R)[:, k - 1], color=colour, ls=dash, lw=1.4, label=name)
            if together_ is not None:
                at_once = 100 - together_["errors"][k - 1]
                ax.axhline(at_once, color=figures.INK, lw=1, ls=(0, (1.5, 1.2)), label="all at once")
            number, _, about = task.partition(" ")
            ax.set_title(
                look.cut(f"{number.removeprefix('qa')}  {about}", 118, look.SMALL), loc="left", fontsize=look.SMALL
            )
            ax.set(ylim=(-3, 103), xlim=(0, T), xticks=(0, 10, 20), yticks=(0, 50, 100))
            ax.grid(axis="y")
            ax.tick_params(length=0)
        look.footnote(figure, f"Across: tasks learnt; the task's own training is shaded. One seed ({r['seed']}).")
        figure.supylabel("accuracy on the task, percent", fontsize=look.TEXT)
        figure.legend(*panels.flat[0].get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=4)
    return figures.png(figure)


def draw_transfer(r: dict[str, Any]) -> bytes:
    with figures.drawing():
        figure = figures.new(7.6, 3.8)
        ax = figure.subplots()
        names = list(r["gain"])
        mean, half = ([r["gain"][n][key] or 0.0 for n in names] for key in ("mean", "half"))
        ax.errorbar(
            mean, range(len(names)), xerr=half, fmt="o", ms=7, color=figures.colours(["ewc"])["ewc"][0], elinewidth=1.6
        )
        ax.axvline(0, color=figures.INK, lw=0.8)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set(xlabel=f"accuracy gained on {r['on']}, points", ylabel="learnt before it")
        ax.grid(axis="x")
        ax.tick_params(length=0)
        look.footnote(figure, f"Lines: 95% intervals over {r['seeds']} seeds, of differences on the same seeds.")
    return figures.png(figure)


def main() -> None:
    bench = Benchmark("babi", __doc__, seeds=3, pairs=7, methods="finetune,ewc,lwf,replay,agem,gem,joint")
    bench.flag("part", choices=["joint", "each", "sequence", "transfer", "speed", "draw"])
    bench.flag("--restarts", type=int, default=10)
    bench.flag("--epochs", type=int, default=10)
    bench.flag("--seed", type=int, default=0)
    said = bench.said
    torch.set_num_threads(1)
    if said.part == "draw":  # again from results/, and nothing is measured
        found = load("babi") or {}
        bench.picture("babi-joint.png", draw_bars(found["joint"]))
        bench.picture("babi-transfer.png", draw_transfer(found["transfer"]))
        bench.picture("babi-sequence.png", draw_sequence(found))
    elif said.part == "joint":
        joint(bench, said.restarts)
    elif said.part == "each":
        each(bench, said.restarts)
    elif said.part == "sequence":
        sequence(bench, said.methods.split(","), said.epochs, said.seed)
    elif said.part == "transfer":
        transfer(bench, said.seeds, said.epochs)
    else:
        speed(bench, said.pairs, 2)


if __name__ == "__main__":
    main()
