"""How the cost of a task grows with the number of tasks before it, for each method: a stream of 1,000 small tasks.

    python benchmarks/growth.py                       about six minutes on one idle core
    python benchmarks/growth.py --tasks 100 --seconds 3 --out FOLDER     reduced

A task is 100 of the package's 8×8 digits under a permutation of its own, learnt in ten steps. Measured is `Learner.learn` alone, with what
a method does at a task's edges: R has T² cells whatever the method, so that evaluation is left out. Each method runs in a process of its
own, forked from this one. Bytes are those of all tensors that are kept: weights, optimiser, the method's state, past examples.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from matplotlib.ticker import NullFormatter

from harness import Benchmark, say
from lifelong import MLP, Learner, Stream, Task, Tensors, Training
from lifelong.core import state_io as tree
from lifelong.core.random import generator
from lifelong.core.registry import METHODS
from lifelong.methods import (
    AGEM,
    DER,
    EWC,
    GEM,
    HAT,
    L2,
    MAS,
    SI,
    SLDA,
    DERpp,
    ExpertGate,
    FearNet,
    Finetune,
    GDumb,
    GenerativeReplay,
    Grow,
    ICaRL,
    Independent,
    Joint,
    LatentReplay,
    LwF,
    NearestMean,
    NearestNeighbour,
    PackNet,
    Progressive,
    RanPAC,
    Replay,
    RWalk,
)
from lifelong.report import figures, look
from lifelong.streams.sources import load

EXAMPLES, TRAINING = 100, Training(lr=0.01, momentum=0.9, batch_size=10)
MEASURED = {  # joint_once is joint, one time; the orders are what is claimed: of time a task, and of memory after t tasks
    Finetune(): (0, 0),
    Joint(restart=False): (1, 1),
    Independent(): (0, 1),
    # implicitly: after some hundred tasks the penalties in the gradient are stiff, and diverge (docs/limits.md)
    L2(0.01, implicit=True): (0, 0),
    EWC(1.0, implicit=True): (0, 0),
    SI(implicit=True): (0, 0),
    MAS(implicit=True): (0, 0),
    RWalk(implicit=True): (0, 0),
    Replay(200): (0, 0),
    DER(200): (0, 0),
    DERpp(200): (0, 0),
    GDumb(200, passes=1): (0, 0),
    GEM(10): (1, 1),
    AGEM(1000, batch_size=50): (0, 0),
    LwF(): (0, 0),
    GenerativeReplay(hidden=(64,), code=10): (0, 0),
    FearNet(gate_steps=20): (0, 0),
    NearestMean(): (0, 0),
    NearestNeighbour(): (0, 1),
    SLDA(): (0, 0),
    RanPAC(width=128): (0, 0),
    LatentReplay(200): (0, 0),
    ICaRL(200): (0, 0),
    Grow(times=1): (0, 0),
    Progressive(): (2, 2),
    PackNet(): (0, 0),
    HAT(): (0, 1),
    ExpertGate(code=16, gate_epochs=1): (1, 1),
}
SLOWER = {"fearnet": 0.003}  # whose pseudo-examples, learnt again and again, diverge at TRAINING's rate
CAPS = {"progressive": 40, "joint": 200, "gem": 300, "expert_gate": 200, "fearnet": 400}
ORDERS = ("constant", "linear", "quadratic", "more than quadratic")
SLACK = 0.15  # a slope up to 0.15 is constant, up to 1.15 linear, ...
BINS = 12


def stream_of(tasks: int, scenario: Any) -> Stream:
    digits = load("digits")
    x, y = digits.train_x.flatten(1).float() / 16, digits.train_y
    made = []
    for t in range(tasks):
        draws = generator(0, f"task/{t}")
        order, rows = torch.randperm(64, generator=draws), torch.randperm(len(y), generator=draws)[:EXAMPLES]
        part = Tensors(x, y, rows, lambda images, order=order: images[:, order])
        made.append(Task(str(t), part, part, tuple(range(10))))
    return Stream(tuple(made), scenario, digits.class_names, name="growth", source=digits.origin)


def kept(learner: Learner) -> int:
    """Bytes of all tensors that a learner holds."""
    saved = learner.state_dict()
    tensors = [t for name, t in saved["tensors"].items() if not name.startswith("state/")]
    return tree.nbytes(tensors) + learner.memory_bytes


def resident() -> int:
    """Bytes of memory that is the process's own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def measure(method: Any, tasks: int, most: float) -> dict[str, Any]:
    """Seconds of each task; bytes after every tenth."""
    scenario = next(
        s for s in ("domain", "task") if s in method.scenarios and (s == "task" or method.name != "independent")
    )
    stream = stream_of(tasks, scenario)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MLP((64,))((64,), 10)
    training = replace(TRAINING, lr=SLOWER.get(method.name, TRAINING.lr))
    learner = Learner(net, method, training, scenario=scenario)
    seconds, began = [], time.monotonic()
    sizes, anonymous = {}, {}
    for t, task in enumerate(stream, 1):
        start = time.perf_counter()
        learner.learn(task)
        seconds.append(time.perf_counter() - start)
        last = t == tasks or (t % 10 == 0 and time.monotonic() - began > most)
        if t <= 20 or t % (10 if t <= 100 else 50) == 0 or last:
            sizes[t], anonymous[t] = kept(learner), resident()
        if last:
            break
    return {"scenario": scenario, "seconds": seconds, "bytes": sizes, "resident": anonymous, "constants": str(method)}


def slope(t: Sequence[float], cost: Sequence[float]) -> float:
    """Of log cost against log t, by least squares."""
    return float(np.polyfit(np.log(t), np.log(cost), 1)[0])


def binned(seconds: Sequence[float], first: int) -> tuple[list[float], list[float]]:
    """Medians of the seconds in bins of equal ratio, from task `first` to the last."""
    edges = np.unique(np.geomspace(first, len(seconds) + 1, BINS + 1).astype(int))
    pairs = [(a, b) for a, b in pairwise(edges) if b > a]
    return [float((a + b - 1) / 2) for a, b in pairs], [float(np.median(seconds[a - 1 : b - 1])) for a, b in pairs]


def judged(found: dict[str, Any], claims: tuple[int, int]) -> dict[str, Any]:
    """Slopes over the last decade of tasks, and the orders that they are."""
    T = len(found["seconds"])
    first = max(2, T // 10)
    time_slope = slope(*binned(found["seconds"], first))
    sizes = {t: n for t, n in found["bytes"].items() if t >= first}
    start, ts = next(iter(found["bytes"].values())), list(sizes)
    more = [n - start for n in sizes.values()]
    memory_slope = 0.0 if more[-1] == more[0] else slope(ts, [max(1, m) for m in more])
    orders = [next((k for k in range(3) if s <= k + SLACK), 3) for s in (time_slope, memory_slope)]
    return {
        "scenario": found["scenario"],
        "constants": found["constants"],
        "tasks": T,
        "time_slope": time_slope,
        "memory_slope": memory_slope,
        "time": ORDERS[orders[0]],
        "memory": ORDERS[orders[1]],
        "claimed": [ORDERS[c] for c in claims],
        "holds": orders[0] <= claims[0] and orders[1] <= claims[1],
        "milliseconds": [
            1000 * float(np.median(found["seconds"][a:b])) for a, b in ((first - 1, 2 * first), (T - first, T))
        ],
        "bytes": [sizes[ts[0]], sizes[ts[-1]]],
        "resident_growth": list(found["resident"].values())[-1] - found["resident"][ts[0]],
    }


def draw(curves: dict[str, dict[str, list[float]]]) -> bytes:
    """Cost over that of the first tasks, for each method; both axes logarithmic, and alike in all panels."""
    columns = 4
    rows = -(-len(curves) // columns)
    (seconds, _), (sizes, _) = figures.colours(["seconds of the task", "bytes kept"]).values()
    with figures.drawing():
        figure = figures.new(7.6, 1.45 * rows + 0.9)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        every = [1.0]
        for axis, (name, found) in zip(axes.flat, curves.items()):
            cost, kept = np.array(found["cost"]), np.array(found["kept"])
            axis.loglog(found["t"], cost / cost[0], color=seconds, lw=1.6, label="seconds of the task")
            axis.loglog(found["at"], kept / kept[0], color=sizes, ls="--", lw=1.6, label="bytes kept")
            axis.set_title(look.cut(name, 118), loc="left")
            every += [*(cost / cost[0]), *(kept / kept[0])]
            axis.grid()
        axes.flat[0].yaxis.set_minor_formatter(NullFormatter())
        axes.flat[0].set_ylim(0.8 * min(every), 1.3 * max(every))  # nothing leaves its panel
        for axis in axes.flat[len(curves) :]:
            axis.remove()
        for axis in axes.flat[max(0, len(curves) - columns) : len(curves)]:
            axis.tick_params(labelbottom=True)
        figure.legend(*axes.flat[0].get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2)
        figure.supxlabel("task", fontsize=look.TEXT)
        figure.supylabel("times that of the first tasks", fontsize=look.TEXT)
    return figures.png(figure)


def curve(found: dict[str, Any]) -> dict[str, list[float]]:
    """What is drawn of a method: medians of seconds in bins of tasks, and bytes after some tasks."""
    t, cost = binned(found["seconds"], 2)
    return {"t": t, "cost": cost, "at": list(found["bytes"]), "kept": list(found["bytes"].values())}


def forked(method: Any, tasks: int, most: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with os.fdopen(write, "w") as pipe:
                json.dump(measure(method, tasks, most), pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    found = json.loads(text)
    return {**found, **{k: {int(t): n for t, n in found[k].items()} for k in ("bytes", "resident")}}


def main() -> None:
    bench = Benchmark("growth", __doc__, methods=None, draws=True)
    bench.flag("--tasks", type=int, default=1000)
    bench.flag("--seconds", type=float, default=25.0, help="of each method, at most (default: 25)")
    said = bench.said
    torch.set_num_threads(1)
    before = bench.before()
    if said.draw:
        bench.picture("growth.png", draw(before["curves"]))
        return
    missing = set(METHODS) - {m.name for m in MEASURED} - {"joint_once"}
    assert not missing, missing
    wanted = said.methods.split(",") if said.methods else [m.name for m in MEASURED]
    table = before.get("table", {}) if said.methods else {}
    curves: dict[str, dict[str, list[float]]] = before.get("curves", {}) if said.methods else {}
    for method, claims in MEASURED.items():
        name = method.name
        if name not in wanted:
            continue
        found = forked(method, min(said.tasks, CAPS.get(name, said.tasks)), said.seconds)
        curves[name], table[name] = curve(found), judged(found, claims)
        say(name, json.dumps(table[name]))
    measured = {
        "table": table,
        "curves": curves,
        "examples": EXAMPLES,
        "training": str(TRAINING),
        "slower": SLOWER,
        "slack": SLACK,
        "most_tasks": said.tasks,
        "most_seconds": said.seconds,
    }
    if set(curves) == set(table):
        bench.picture("growth.png", draw(curves))
    bench.save(1, **measured)


if __name__ == "__main__":
    main()
