"""Expert Gate where the task is hidden: which expert the gate chooses, how related the tasks are, and what the decision between
Learning without Forgetting and fine-tuning does.

Three streams: two data sets (digits, then clothes), five groups of digits, five rotations of the digits. Experts 784-256-256; gates read the
pixels through 100 hidden units. Beside the method as it decides: distilling always, and never.

    LIFELONG_DATA=... python benchmarks/expert_gate.py [--seeds 3] [--examples 1000] [--gate_epochs 20]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from environment import DOCS, save
from lifelong import MLP, ExpertGate, Finetune, Stream, Task, Tensors, Training, interval, rotated, split
from lifelong.fitting import learner_for
from lifelong.methods.expert_gate import Experts
from lifelong.report import figures, look
from lifelong.streams.sources import load
from pages.cells import load as stored

NET, TRAINING = MLP((256, 256)), Training(lr=0.05, batch_size=32, epochs=5)
ALWAYS, NEVER = -1e9, 1e9


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=1000, help="of each task")
    parser.add_argument("--gate_epochs", type=int, default=20)
    parser.add_argument("--digits", default="mnist")
    parser.add_argument("--clothes", default="fashion-mnist")
    parser.add_argument("--draw", action="store_true", help="draw the picture again from results/, and measure nothing")
    said = parser.parse_args()
    if said.draw and (r := stored("expert_gate")) is not None:
        kinds = {"chosen": "confusion", "relatedness": "relatedness"}
        (DOCS / "expert-gate.png").write_bytes(
            maps({n: {what: np.array(part[key]) for what, key in kinds.items()} for n, part in r["table"].items()})
        )
        return
    torch.set_num_threads(1)
    method = ExpertGate(gate_epochs=said.gate_epochs)
    streams = {
        "two data sets": lambda seed: two_sets(said.digits, said.clothes, said.examples, seed),
        "digit groups": lambda seed: split(said.digits, seed=seed, examples=5 * said.examples, test_examples=5000),
        "rotations": lambda seed: rotated(
            said.digits, tasks=5, seed=seed, protocol="even", examples=said.examples, test_examples=2000
        ),
    }
    table, pictures = {}, {}
    for name, make in streams.items():
        confusions, relations, decisions = [], [], []
        acc: dict[str, list[float]] = {}
        effect: list[dict[str, float]] = []
        for seed in range(said.seeds):
            stream = make(seed)
            ends = {}
            for label, one in {
                "as it decides": method,
                "always distilled": replace(method, threshold=ALWAYS),
                "never distilled": replace(method, threshold=NEVER),
                "fine-tuning": Finetune(),
            }.items():
                learner = learner_for(one, NET, stream, TRAINING, seed)
                for task in stream:
                    learner.learn(task)
                acc.setdefault(label, []).append(float(np.mean([a for a, _, _ in learner.evaluate(stream)])))
                if isinstance(one, ExpertGate):
                    ends[label] = learner.state
                    told = replace(stream, scenario="task")  # experts alone, the task being known
                    known = learner_for(one, NET, told, TRAINING, seed)
                    known.load_state_dict(learner.state_dict())
                    known.scenario = "task"
                    each = [a for a, _, _ in known.evaluate(told)]
                    acc.setdefault(f"{label}, task told", []).append(float(np.mean(each)))
                    effect.append({f"task {k + 1}": a for k, a in enumerate(each)} | {"arm": label, "seed": seed})
            state = ends["as it decides"]
            confusion, related = gates(method, state, stream)
            confusions.append(confusion)
            relations.append(related)
            decisions.append([float(r.max()) for r in state.related[1:]])
            print(name, seed, {n: round(a[-1], 3) for n, a in acc.items()}, decisions[-1], flush=True)
        M, Rel = np.mean(confusions, 0), np.mean(relations, 0)
        pictures[name] = {"chosen": M, "relatedness": Rel}
        right = [float(np.mean(np.diagonal(c))) for c in confusions]
        highest = [r for row in decisions for r in row]
        table[name] = {
            "gate": interval(right)._asdict(),
            "acc": {n: interval(a)._asdict() for n, a in acc.items()},
            "confusion": M.tolist(),
            "relatedness": Rel.tolist(),
            "highest_relatedness": decisions,
            "distilled": sum(r > method.threshold for r in highest),
            "decisions": len(highest),
            "by_task": effect,
        }
    (DOCS / "expert-gate.png").write_bytes(maps(pictures))
    measured = {name: value for name, value in vars(said).items() if name != "draw"}
    save("expert_gate", 1, **measured, training=str(TRAINING), net=str(NET), method=str(method), table=table)


if __name__ == "__main__":
    main()
