"""docs/results.md and docs/benchmarks.md, made from the files in results/. Run by every benchmark; by hand: python tables.py"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

from environment import DOCS, RESULTS


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


VAN_DE_VEN = {
    "split_2019": "Split MNIST in three scenarios, as van de Ven & Tolias 2019 (arXiv 1904.07734, table 4)",
    "split_2022": "Split MNIST, new classes, as van de Ven, Tuytelaars & Tolias 2022 (NMI 4, 1185)",
    "permuted_2019": "Permuted MNIST, new classes, after van de Ven & Tolias 2019 (table 5), reduced",
}


def van_de_ven(name: str, r: dict[str, Any]) -> str:
    names = {"none": "none", "ewc": "EWC", "online": "online EWC", "si": "SI", "joint": "joint, once"} | {
        "replay": "replay, 100 a class",
        "agem": "A-GEM, 100 a class",
    }
    rows, grids = [], []
    for scenario, part in r["scenarios"].items():
        for method, cell in part["cells"].items():
            theirs = difference = "–"
            if cell["published"] is not None:
                mean, sem = cell["published"]
                theirs = f"{mean}" + ("" if sem is None else f" ± {sem:.2f} (SEM)")
                difference = f"{100 * cell['acc']['mean'] - mean:+.2f}"
            ours = f"{100 * cell['acc']['mean']:.2f} ± {100 * cell['acc']['half']:.2f}"
            rows.append([scenario, names[method], ours, theirs, difference, cell["verdict"]])
        grids += [f"- {scenario}, {names[n]}: {grid(c)}" for n, c in part["strengths"].items()]
    gammas = ", ".join(f"{k} {v:g}" for k, v in r["gamma"].items())
    reduced = (
        ""
        if name != "permuted_2019"
        else "Reduced from 1,000 units a layer and 5,000 steps a task, so there is no verdict. "
    )
    return (
        f"## {VAN_DE_VEN[name]}\n\n"
        f"Network `{r['net']}`, `{r['training']}`, Fisher: {r['importance']}{f', γ of online EWC: {gammas}' if gammas else ''}; "
        f"{r['seeds']} seeds (theirs 20), mean ± 95% interval, percent. {reduced}A verdict is given where their standard error "
        "could be verified: it agrees if two of them and our interval bridge the difference.\n\n"
        + table(["scenario", "method", "ours", "published", "difference", "verdict"], rows)
        + "\nStrengths chosen on held-out training data with one seed:\n\n"
        + "\n".join(grids)
        + "\n\n"
        + measured(r, f"python benchmarks/van_de_ven.py {name}")
    )


def ewc_figure(r: dict[str, Any]) -> str:
    rows = [[{"finetune": "SGD"}.get(n, n), *[percent(task) for task in tasks]] for n, tasks in r["end"].items()]
    strengths = "; ".join(f"{n} {grid(c)}" for n, c in r["strengths"].items())
    return (
        "## The figure of the EWC paper\n\n"
        "![Accuracy on A, B and C while they are learnt](ewc-figure.png)\n\n"
        f"Three permutations of MNIST in turn, network `{r['net']}`, `{r['training']}`, {r['seeds']} seeds (line: mean, band: "
        "range). The paper shows curves and no numbers; these are ours after C, percent:\n\n"
        + table(["method", "A", "B", "C"], rows)
        + f"\nStrengths chosen on held-out training data with a seed of its own: {strengths}.\n\n"
        + measured(r, "python benchmarks/ewc_figure.py")
    )


def tradeoff(r: dict[str, Any]) -> str:
    def row(name: str, strength: float, p: dict[str, float]) -> list[str]:
        return [name, f"{strength:g}", *[f"{100 * p[k]:.1f}" for k in ("forgetting", "intransigence", "acc")]]

    rows = [row("finetune", 0, r["finetune"])]
    rows += [row(n, p["strength"], p) for n, found in r["points"].items() for p in found]
    return (
        "## Retention against intransigence\n\n"
        "![Forgetting against intransigence as λ grows](tradeoff.png)\n\n"
        "Permuted MNIST, five tasks of 10,000 images, 784-256-256-10, SGD 0.1, batch 128, five epochs, "
        f"{r['seeds']} seeds, means in percent. Intransigence is against joint training (five epochs of the union, from the "
        "start each time); below 0 the task was learnt better than jointly.\n\n"
        + table(["method", "λ", "forgetting", "intransigence", "ACC"], rows)
        + "\n"
        + measured(r, "python benchmarks/tradeoff.py")
    )


def gem(r: dict[str, Any]) -> str:
    pages = []
    for stream, part in r["table"].items():
        rows = []
        for key, cell in part.items():
            name, epochs = key.split(", ")
            theirs = ["–" if p is None else f"{p:.2f}" for p in cell["published"]]
            ours = [
                f"{cell[m]['mean']:.3f} ± {cell[m]['half']:.3f}" if cell[m]["mean"] == cell[m]["mean"] else "–"
                for m in ("acc", "bwt")
            ]
            verdicts = [v or "–" for v in cell["verdict"]]
            rows.append([name, epochs, ours[0], theirs[0], verdicts[0], ours[1], theirs[1], verdicts[1]])
        head = ["method", "epochs", "ACC", "published", "verdict", "BWT", "published", "verdict"]
        pages.append(f"### {stream.capitalize()}\n\n" + table(head, rows))
    strengths = "; ".join(f"{n} {grid(c)}" for n, c in r["strengths"].items())
    return (
        "## The GEM paper's MNIST tasks\n\n"
        f"Twenty tasks of 1,000 images, batch 10, `{r['net']}`, {r['seeds']} seeds (theirs 1), mean ± 95% interval. Learning rates are "
        "the authors'; a verdict asks whether their number lies in our interval, widened by half a point for its rounding.\n\n"
        + "\n".join(pages)
        + f"\nEWC's strength, chosen on held-out training data with one seed: {strengths}.\n\n"
        "![Accuracy over twenty permutations](gem-permutations.png)\n\n" + measured(r, "python benchmarks/gem.py")
    )


def babi(r: dict[str, Any]) -> str:
    text = "## Twenty kinds of question (bAbI, arXiv 1502.05698)\n\n"
    if "joint" in r:
        j = r["joint"]
        runs = [
            [str(x["seed"]), f"{x['training_error']:.1f}", f"{sum(x['test_errors']) / 20:.1f}"] for x in j["restarts"]
        ]
        rows = [[str(k), f"{a:.1f}", f"{b:.1f}"] for k, (a, b) in enumerate(zip(j["errors"], j["published"]), 1)]
        text += (
            "### Learnt together\n\n![Accuracy on each task when all are learnt together](babi-joint.png)\n\n"
            f"The memory network of arXiv 1503.08895, 1,000 questions a task: `{j['net']}`, with linear start. Test error in percent, "
            f"of {len(j['restarts'])} restart(s) that with the least training error (theirs: of 10): mean **{j['mean']:.1f}**, published "
            f"{j['published_mean']} (their code in another language {j['port']}): {j['verdict']} (at most three points above it).\n\n"
            + table(["task", "ours", "published"], rows)
            + "\n"
            + table(["restart", "training error", "test error"], runs)
            + "\n"
            + measured(r, "python benchmarks/babi.py joint")
            + "\n"
        )
    if "sequence" in r:
        s = r["sequence"]
        rows = []
        for name, R in s["R"].items():
            last = [100 * a for a in R[-1]]
            new = [100 * R[k + 1][k] for k in range(20)]
            rows.append([name, *[f"{x:.1f}" for x in (sum(last) / 20, sum(new) / 20, last[4], last[9])]])
        strength = f" EWC's strength: {grid(s['strength'])}." if "strength" in s else ""
        text += (
            "### One after another\n\n![Accuracy on four of the tasks after each of the twenty](babi-sequence.png)\n\n"
            f"Tasks 1 to 20 in turn, one output for each word, task not known: `{s['training']}`, one seed; percent. Methods: "
            + "; ".join(f"`{m}`" for m in s["methods"].values())
            + f".{strength}\n\n"
            + table(["method", "ACC", "each when just learnt", "task 5 at the end", "task 10 at the end"], rows)
            + "\n"
            + measured(r, "python benchmarks/babi.py sequence")
            + "\n"
        )
    if "transfer" in r:
        t = r["transfer"]
        rows = [[n, f"{g['mean']:+.1f} ± {g['half']:.1f}"] for n, g in t["gain"].items()]
        text += (
            f"### What helps {t['on']}\n\n![What each earlier kind gives](babi-transfer.png)\n\n"
            f"Accuracy on it alone {t['alone']['mean']:.1f} ± {t['alone']['half']:.1f} percent; with one other kind learnt before it, same "
            f"seeds, the difference in points ({t['seeds']} seeds, mean ± 95% interval, `{t['training']}`):\n\n"
            + table(["learnt before", "difference"], rows)
            + "\n"
            + measured(r, "python benchmarks/babi.py transfer")
            + "\n"
        )
    if "speed" in r:
        v = r["speed"]
        rate = v["questions"] / median(v["ours"])
        text += (
            f"### Speed\n\nJoint training, {rate:,.0f} questions a second; seconds over those of a loop by hand "
            f"{v['ratio_median']:.3f} ({v['ratio_min']:.3f} to {v['ratio_max']:.3f}, {v['pairs']} pairs).\n\n"
            + measured(r, "python benchmarks/babi.py speed")
        )
    return text.rstrip("\n") + "\n"


def overhead(r: dict[str, Any]) -> str:
    rows = [
        [key, f"{v['ratio_median']:.3f}", f"{v['ratio_min']:.3f} to {v['ratio_max']:.3f}", str(len(v["ours"]))]
        for key, v in r.items()
        if isinstance(v, dict) and "ratio_median" in v
    ]
    more = ""
    if "fisher" in r:
        costs = r["fisher"]
        fisher = [
            [k, f"{costs[k]:.2f} s", f"{costs[k] / costs['epoch']:.2f}"] for k in ("empirical", "sampled", "exact")
        ]
        more += "\nThe diagonal Fisher of as many examples as an epoch has, exact for each example:\n\n"
        more += table(["labels", "time", "in training epochs"], fisher)
    if "training" in r:
        told = [
            [k, f"{v['median']:.2f}", f"{v['min']:.2f} to {v['max']:.2f}", str(v["pairs"])]
            for k, v in r["training"].items()
        ]
        more += "\nSeconds of training, with what is done at a task's end, over fine-tuning's (three tasks, batch 128, in turn):\n\n"
        more += table(["method", "ratio", "range", "pairs"], told)
    return (
        "## Against a loop written by hand\n\n"
        "Seconds of the whole job (training and R with its untrained row, permuted MNIST, ten tasks, 784-256-256-10), the "
        "library's divided by those of a loop by hand that does the same arithmetic; interleaved pairs in one process, "
        "median and range of the ratio pair by pair (of seven pairs the range is a 98% interval of the median).\n\n"
        + table(["job", "ratio", "range", "pairs"], rows)
        + more
        + "\n"
        + measured(r, "python benchmarks/overhead.py")
    )


def rehearsal(r: dict[str, Any]) -> str:
    jobs = {
        "replay": "replay, ten tasks of 1,000, batch 10 + 10, reservoir of 500",
        "gem": "GEM, twenty tasks of 1,000, batch 10, 256 memories a task",
    }
    rows = [
        [
            jobs[key],
            f"{r[key]['ratio_median']:.3f}",
            f"{r[key]['ratio_min']:.3f} to {r[key]['ratio_max']:.3f}",
            str(len(r[key]["ours"])),
            f"{median(r[key]['ours']):.1f}",
        ]
        for key in jobs
        if key in r
    ]
    picture = "![What a step of GEM costs](gem-steps.png)\n\n" if "gem_step_milliseconds" in r else ""
    return (
        "## A memory, beside loops written by hand\n\n"
        "Seconds of the whole job (training and R) over those of a loop by hand; permuted MNIST, interleaved pairs in one process. "
        "GEM by hand takes one backward a past task.\n\n"
        + table(["job", "ratio", "range", "pairs", "ours, s"], rows)
        + "\n"
        + picture
        + measured(r, "python benchmarks/rehearsal.py")
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
        "128, one epoch, SGD 0.1, the same permutations. What is compared is training and R; imports and the building of data "
        "stand apart. *classic* is avalanche as it comes: its own `PermutedMNIST` with its transforms (normalise and permute; ours do "
        "the same within the clock), its default evaluator and logger. *tensors* gives it images that were permuted and scaled "
        "beforehand, one metric and no logger: its best case. The ratio shrinks as more of its defaults are taken away, so read both. *online*: batch 10, 1,000 images a task, 784-100-100-10.\n\n"
        + table(head, rows)
        + "\nAvalanche's EWC squares gradients of batch means, with a penalty without ½, and its MAS keeps a moving average: "
        "other quantities, so their accuracies are printed and not compared. Its SI computes its path and holds nothing "
        "back on a CPU (the weights that it saves are views of those being trained): its accuracy is fine-tuning's.\n\n"
        + measured(r, "python benchmarks/peers.py --peer PEER/bin/python")
    )


PAGES = {
    "results.md": (
        "# Results\n\nWritten by the scripts in `benchmarks/`.\n\n",
        {
            "lecture": lecture,
            "permuted": permuted,
            "ewc_figure": ewc_figure,
            "tradeoff": tradeoff,
            "gem": gem,
            "transfer": transfer,
            "babi": babi,
            **{n: partial(van_de_ven, n) for n in VAN_DE_VEN},
        },
    ),
    "benchmarks.md": (
        "# Speed\n\nWritten by the scripts in `benchmarks/`. Ratios, measured in one run.\n\n",
        {"overhead": overhead, "rehearsal": rehearsal, "peers": peers},
    ),
}


def write() -> None:
    """Writes the pages of what has been measured."""
    for page, (head, parts) in PAGES.items():
        found = [(make, load(name)) for name, make in parts.items()]
        (DOCS / page).write_text(head + "\n".join(make(r) for make, r in found if r is not None))


if __name__ == "__main__":
    write()
