"""docs/results.md and docs/benchmarks.md, made from the files in results/. Run by every benchmark; by hand: python tables.py"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environment import RESULTS

DOCS = Path(__file__).parent.parent / "docs"


def load(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def percent(found: dict[str, Any], sign: bool = False) -> str:
    """A mean over seeds with its 95% interval, in percent."""
    mean = f"{100 * found['mean']:{'+' if sign else ''}.1f}"
    half = found["half"]
    return f"{mean} ± {100 * half:.1f}" if found["n"] > 1 and half is not None else mean


def measured(r: dict[str, Any], command: str) -> str:
    v = r["versions"]
    return (
        f"Measured {r['date']} with torch {v['torch']}, Python {v['python']}, {r['threads']} thread(s) on {r['cores']} "
        f"cores: `{command}`. Raw numbers: `benchmarks/results/`.\n"
    )


def grid(choice: dict[str, Any]) -> str:
    tried = ", ".join(f"{g:g}: {100 * s:.1f}" for g, s in zip(choice["grid"], choice["scores"]))
    return f"{choice['value']:g} (held-out accuracy in percent by strength: {tried})"


def lecture(r: dict[str, Any]) -> str:
    said = r["lecture"]
    rows = []
    for name, cells in r["cells"].items():
        for on in (1, 2):
            row = [name, f"corpus {on}"] + [percent(cells[f"corpus {on} after {after}"]) for after in (0, 1, 2)]
            if name == "finetune":
                theirs = f"{said[f'corpus {on} after 1']} → {said[f'corpus {on} after 2']}"
            else:
                theirs = f"{said[f'joint {on}']}" if name == "joint" else "–"
            rows.append([*row, theirs])
    noise = ", ".join(f"{k} {v}" for k, v in r["notes"].items() if isinstance(v, int | float | str))
    strengths = "; ".join(f"{n} {grid(c)}" for n, c in r["strengths"].items())
    return (
        "## Two corpora, the lecture's first example\n\n"
        f"Full MNIST twice, corpus 1 noisy, corpus 2 clean ({noise}); network `{r['net']}`, `{r['training']}`, "
        f"{r['seeds']} seeds, mean ± 95% interval, percent.\n\n"
        + table(["method", "on", "untrained", "after corpus 1", "after corpus 2", "lecture"], rows)
        + "\nThe lecture states neither its noise nor its training, so its numbers stand beside ours without a verdict. "
        "The noise here was fixed beforehand so that a network trained on corpus 1 alone scores about 90%.\n\n"
        f"Strengths chosen on held-out training data: {strengths}.\n\n" + measured(r, "python benchmarks/lecture.py")
    )


def permuted(r: dict[str, Any]) -> str:
    rows = [
        [
            n,
            percent(r["acc"][n]),
            percent(r["first_task"][n]),
            percent(r["bwt"][n], sign=True),
            "–" if n not in r["ewc_minus"] else percent(r["ewc_minus"][n], sign=True),
        ]
        for n in r["acc"]
    ]
    strengths = "; ".join(f"{n} {grid(c)}" for n, c in r["strengths"].items())
    return (
        "## Permuted MNIST, ten tasks\n\n"
        f"60,000 images a task, network `{r['net']}`, `{r['training']}`, one seed a permutation and initialisation, "
        f"{r['seeds']} seeds, mean ± 95% interval, percent. EWC's penalty is taken implicitly.\n\n"
        + table(["method", "ACC", "task 1 at the end", "BWT", "EWC minus it, same seeds"], rows)
        + f"\nStrengths chosen on held-out training data with a seed of its own: {strengths}.\n\n"
        + measured(r, "python benchmarks/permuted.py")
    )


def transfer(r: dict[str, Any]) -> str:
    rows = [[n, percent(c["old"]), percent(c["new"])] for n, c in r["table"].items()]
    curves = [
        [
            *key.split(", "),
            *[percent(t) for t in c["by_task"]],
            percent(c["mean_of_tasks_2_to_5"]),
            f"{c['numbers_stored']:,}",
        ]
        for key, c in r["curves"].items()
    ]
    return (
        "## Life-long against transfer learning\n\n"
        "Two corpora: accuracy on the old task (corpus 1) and on the new (corpus 2) after both, percent. Transfer learning "
        "asks for the second column alone.\n\n"
        + table(["method", "old task", "new task"], rows)
        + f"\nEWC's strength: {grid(r['strength'])}.\n\n"
        "### What transfers: learning curves at equal few examples\n\n"
        "Rotated digits, five tasks: accuracy on each task when it had just been learnt, one network for all (EWC) against a "
        "network of its own for each, and the numbers (weights, importances, anchors) that must be stored after task 5.\n\n"
        + table(
            ["examples a task", "learner", *[f"task {t}" for t in range(1, 6)], "mean of 2–5", "numbers stored"], curves
        )
        + "\n"
        + measured(r, "python benchmarks/transfer.py")
    )


def split_mnist(r: dict[str, Any]) -> str:
    names = {"none": "none", "ewc": "EWC", "online": "online EWC, γ 0.8", "si": "SI", "joint": "joint, once"}
    rows, grids = [], []
    for scenario, part in r["scenarios"].items():
        for name, cell in part["cells"].items():
            sem = "" if cell["sem"] is None else f" ± {cell['sem']:.2f} (SEM)"
            difference = f"{100 * cell['acc']['mean'] - cell['published']:+.2f}"
            rows.append(
                [scenario, names[name], percent(cell["acc"]), f"{cell['published']}{sem}", difference, cell["verdict"]]
            )
        grids += [f"{scenario}, {names[n]}: {grid(c)}" for n, c in part["strengths"].items()]
    return (
        "## Split MNIST in three scenarios\n\n"
        f"Protocol of van de Ven & Tolias 2019 (arXiv 1904.07734, table 4): network `{r['net']}`, `{r['training']}`, argmax-label "
        f"Fisher, outputs seen so far; {r['seeds']} seeds (theirs 20), mean ± 95% interval, percent. A verdict is given where "
        "their standard error could be verified: it agrees if two of them and our interval bridge the difference.\n\n"
        + table(["scenario", "method", "ours", "published", "difference", "verdict"], rows)
        + "\nStrengths chosen on held-out training data with one seed:\n\n"
        + "\n".join(f"- {g}" for g in grids)
        + "\n\n"
        + measured(r, "python benchmarks/split_mnist.py")
    )


def overhead(r: dict[str, Any]) -> str:
    rows = [
        [key, f"{v['ratio_median']:.3f}", f"{v['ratio_min']:.3f} to {v['ratio_max']:.3f}", str(len(v["ours"]))]
        for key, v in r.items()
        if isinstance(v, dict) and "ratio_median" in v
    ]
    costs = r["fisher"]
    fisher = [[k, f"{costs[k]:.2f} s", f"{costs[k] / costs['epoch']:.2f}"] for k in ("empirical", "sampled", "exact")]
    told = [
        [k, f"{v['median']:.2f}", f"{v['min']:.2f} to {v['max']:.2f}", str(v["pairs"])]
        for k, v in r["training"].items()
    ]
    training = (
        "\nSeconds of training, what is done at a task's end included, over fine-tuning's (three tasks, batch 128, in turn):"
        "\n\n" + table(["method", "ratio", "range", "pairs"], told)
    )
    return (
        "## Against a loop written by hand\n\n"
        "Seconds of the whole job (training and R with its untrained row, permuted MNIST, ten tasks, 784-256-256-10), the "
        "library's divided by those of a loop by hand that does the same arithmetic; interleaved pairs in one process, "
        "median and range of the ratio pair by pair (of seven pairs the range is a 98% interval of the median).\n\n"
        + table(["job", "ratio", "range", "pairs"], rows)
        + "\nThe diagonal Fisher of as many examples as an epoch has, all exact for each example:\n\n"
        + table(["labels", "time", "in training epochs"], fisher)
        + training
        + "\n"
        + measured(r, "python benchmarks/overhead.py")
    )


def peers(r: dict[str, Any]) -> str:
    rows = []
    for name, v in r["jobs"].items():
        a, b = v["ours"], v["theirs"]
        rows.append(
            [
                name,
                str(v["tasks"]),
                f"{v['ratio_median']:.1f}",
                f"{v['ratio_min']:.1f} to {v['ratio_max']:.1f} ({v['pairs']})",
                f"{a['train_seconds'] / v['tasks']:.2f} + {a['eval_seconds'] / v['tasks']:.2f}",
                f"{b['train_seconds'] / v['tasks']:.2f} + {b['eval_seconds'] / v['tasks']:.2f}",
                f"{a['import_seconds']:.1f} + {a['build_seconds']:.1f}",
                f"{b['import_seconds']:.1f} + {b['build_seconds']:.1f}",
                f"{100 * v['acc_ours']:.1f} / {100 * v['acc_theirs']:.1f}",
            ]
        )
    head = ["method", "tasks", "times faster", "range (pairs)", "ours: train + R, s a task"]
    head += [
        "avalanche: train + R, s a task",
        "ours: import + data, s",
        "avalanche: import + data, s",
        "ACC ours / theirs",
    ]
    return (
        "## Against avalanche-lib 0.6.0\n\n"
        "The same job, in turn, each in a process of its own: permuted MNIST, tasks of 60,000 images, 784-256-256-10, batch "
        "128, one epoch, SGD 0.1. What is compared is training and R; imports and the building of data stand apart. "
        "Avalanche's tensors were permuted and scaled beforehand, which is its best case; ours are permuted within the "
        "clock.\n\n"
        + table(head, rows)
        + "\nAvalanche's EWC squares gradients of batch means, with a penalty without ½, and its MAS keeps a moving average: "
        "other quantities, so their accuracies are printed and not compared. Its SI computes its path and holds nothing "
        "back on a CPU (the weights that it saves are views of those being trained): its accuracy is fine-tuning's.\n\n"
        + measured(r, "python benchmarks/peers.py --peer PEER/bin/python")
    )


PAGES = {
    "results.md": (
        "# Results\n\nWritten by the scripts in `benchmarks/`.\n\n",
        {"lecture": lecture, "permuted": permuted, "transfer": transfer, "split_mnist": split_mnist},
    ),
    "benchmarks.md": (
        "# Speed\n\nWritten by the scripts in `benchmarks/`. Ratios, measured in one run.\n\n",
        {"overhead": overhead, "peers": peers},
    ),
}


def write() -> None:
    """Writes the pages of what has been measured."""
    for page, (head, parts) in PAGES.items():
        found = [(make, load(name)) for name, make in parts.items()]
        (DOCS / page).write_text(head + "\n".join(make(r) for make, r in found if r is not None))


if __name__ == "__main__":
    write()
