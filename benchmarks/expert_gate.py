"""Expert Gate where the task is hidden: which expert the gate chooses, how related the tasks are, and what the decision between
Learning without Forgetting and fine-tuning does.

Three streams: two data sets (digits, then clothes), five groups of digits, five rotations of the digits. Experts 784-256-256; gates read the
pixels through 100 hidden units. Beside the method as it decides: distilling always, and never.

    LIFELONG_DATA=... python benchmarks/expert_gate.py [--seeds 3] [--examples 1000] [--gate_epochs 20]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from harness import Benchmark, over_seeds, plain, say
from lifelong import (
    MLP,
    ExpertGate,
    Finetune,
    Learner,
    Method,
    Stream,
    Task,
    Tensors,
    Training,
    interval,
    rotated,
    split,
)
from lifelong.methods.expert_gate import Experts
from lifelong.report import figures, look
from lifelong.streams.sources import load
from lifelong.training.build import learner_for

NET, TRAINING = MLP((256, 256)), Training(lr=0.05, batch_size=32, epochs=5)
ALWAYS, NEVER = -1e9, 1e9
STREAMS = ("two data sets", "digit groups", "rotations")


def two_sets(digits: str, clothes: str, examples: int, seed: int) -> Stream:
    """Digits, then clothes, with outputs of their own."""
    tasks, names = [], []
    for i, name in enumerate((digits, clothes)):
        source = load(name)
        rows = torch.randperm(len(source.train_x), generator=torch.Generator().manual_seed(seed))[:examples]
        train = Tensors(source.train_x[rows], source.train_y[rows] + 10 * i)
        test = Tensors(source.test_x, source.test_y + 10 * i)
        tasks.append(Task(name, train, test, tuple(range(10 * i, 10 * i + 10))))
        names += source.class_names
    return Stream(tuple(tasks), "class", tuple(names), "two data sets", f"{digits}, {clothes}")


def gates(method: ExpertGate, state: Experts, stream: Stream) -> tuple[list[list[float]], list[list[float]]]:
    """The confusion of the gate on the test images, and Rel(T_k, T_a) on those of k: a row a task k, a column an expert a."""
    assert state.scale is not None
    confusion, related = [], []
    for k, task in enumerate(stream):
        x = torch.cat([chunk.x for chunk in task.test.all()])
        p = method.probabilities(state, x)
        confusion.append(torch.bincount(p.argmax(1), minlength=len(stream)).div(len(x)).tolist())
        er = torch.stack([gate.error(state.scale(x)).mean() for gate in state.gates])
        related.append((1 - (er - er[k]) / er[k]).tolist())
    return confusion, related


def maps(found: dict[str, dict[str, np.ndarray]]) -> bytes:
    """A row a stream: the gate's confusion, and the relatedness. Colours of all maps of one kind go from the least to the greatest value."""
    ends = {
        what: min(0.0, *(float(both[what].min()) for both in found.values())) for what in next(iter(found.values()))
    }
    with figures.drawing():
        figure = figures.new(7.6, 3.5 * len(found))
        panels = figure.subplots(len(found), 2, squeeze=False)
        for row, (name, both) in zip(panels, found.items()):
            for ax, (what, M) in zip(row, both.items()):
                image = ax.imshow(M, cmap="cividis", vmin=ends[what], vmax=1)
                for (i, j), value in np.ndenumerate(M):
                    ink = "#ffffff" if look.luminance(image.to_rgba(value)) < 0.18 else "#000000"
                    ax.text(
                        j, i, f"{value:.2f}".replace("-", "−"), ha="center", va="center", color=ink, fontsize=look.SMALL
                    )
                ax.set(xlabel="expert", ylabel="images of task")
                ax.set_title(f"{name}: {what}", loc="left")
                ax.set_xticks(range(len(M)), [str(t + 1) for t in range(len(M))])
                ax.set_yticks(range(len(M)), [str(t + 1) for t in range(len(M))])
                ax.tick_params(length=0)
                ax.spines[:].set_visible(False)
        look.footnote(
            figure,
            "Chosen: the share of a task's images that the gate gives to each expert. Relatedness: 1 where an expert's gate rebuilds the images "
            "as well as the task's own does, less where it does worse. Means over the seeds.",
        )
    return figures.png(figure)


def arms(method: ExpertGate) -> dict[str, Method]:
    return {
        "as it decides": method,
        "always distilled": replace(method, threshold=ALWAYS),
        "never distilled": replace(method, threshold=NEVER),
        "fine-tuning": Finetune(),
    }


def told(learner: Learner, method: Method, stream: Stream, seed: int) -> list[float]:
    """Accuracy by task of the experts alone, the task being known."""
    known = learner_for(method, NET, stream, TRAINING, seed)
    known.load_state_dict(learner.state_dict())
    known.scenario = "task"
    return [a for a, _, _ in known.evaluate(replace(stream, scenario="task"))]


def measure(name: str, seed: int, gate_epochs: int, examples: int, digits: str, clothes: str) -> dict[str, Any]:
    """All arms on one stream: accuracies, what the gate chose, and what decided."""
    streams = {
        "two data sets": lambda: two_sets(digits, clothes, examples, seed),
        "digit groups": lambda: split(digits, seed=seed, examples=5 * examples, test_examples=5000),
        "rotations": lambda: rotated(
            digits, tasks=5, seed=seed, protocol="even", examples=examples, test_examples=2000
        ),
    }
    method, stream = ExpertGate(gate_epochs=gate_epochs), streams[name]()
    acc: dict[str, float] = {}
    by_task, ends = [], {}
    for label, one in arms(method).items():
        learner = learner_for(one, NET, stream, TRAINING, seed)
        for task in stream:
            learner.learn(task)
        acc[label] = float(np.mean([a for a, _, _ in learner.evaluate(stream)]))
        if isinstance(one, ExpertGate):
            ends[label] = learner.state
            each = told(learner, one, stream, seed)
            acc[f"{label}, task told"] = float(np.mean(each))
            by_task.append({f"task {k + 1}": a for k, a in enumerate(each)} | {"arm": label, "seed": seed})
    state = ends["as it decides"]
    confusion, related = gates(method, state, stream)
    decisions = [float(r.max()) for r in state.related[1:]]
    return {"acc": acc, "confusion": confusion, "related": related, "decisions": decisions, "by_task": by_task}


def summary(ran: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """What results/ holds of a stream, from what each seed gave."""
    right = [float(np.mean(np.diagonal(r["confusion"]))) for r in ran]
    highest = [value for r in ran for value in r["decisions"]]
    return {
        "gate": interval(right)._asdict(),
        "acc": plain(over_seeds([r["acc"] for r in ran])),
        "confusion": np.mean([r["confusion"] for r in ran], 0).tolist(),
        "relatedness": np.mean([r["related"] for r in ran], 0).tolist(),
        "highest_relatedness": [r["decisions"] for r in ran],
        "distilled": sum(value > threshold for value in highest),
        "decisions": len(highest),
        "by_task": [row for r in ran for row in r["by_task"]],
    }


def picture(table: dict[str, Any]) -> bytes:
    kinds = {"chosen": "confusion", "relatedness": "relatedness"}
    return maps({n: {what: np.array(part[key]) for what, key in kinds.items()} for n, part in table.items()})


def main() -> None:
    bench = Benchmark("expert_gate", __doc__, seeds=3, jobs=1, draws=True)
    bench.flag("--examples", type=int, default=1000, help="of each task")
    bench.flag("--gate_epochs", type=int, default=20)
    bench.flag("--digits", default="mnist")
    bench.flag("--clothes", default="fashion-mnist")
    said = bench.said
    if said.draw:
        bench.picture("expert-gate.png", picture(bench.before()["table"]))
        return
    method, given = (
        ExpertGate(gate_epochs=said.gate_epochs),
        (said.gate_epochs, said.examples, said.digits, said.clothes),
    )
    with bench.runs(*given) as runs:
        found = runs(measure, {(name, s): (name, s, *given) for name in STREAMS for s in range(said.seeds)})
    table = {name: summary([found[name, s] for s in range(said.seeds)], method.threshold) for name in STREAMS}
    for name, part in table.items():
        say(name, {n: round(a["mean"], 3) for n, a in part["acc"].items()})
    bench.picture("expert-gate.png", picture(table))
    bench.save(1, **bench.recipe, training=str(TRAINING), net=str(NET), method=str(method), table=table)


if __name__ == "__main__":
    main()
