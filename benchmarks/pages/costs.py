"""Tables of time and memory."""

from __future__ import annotations

from statistics import median
from typing import Any

from pages.cells import measured, table


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
    if "gem_two_threads" in r:
        seconds = r["gem_two_threads"]
        picture = (
            f"GEM's job with two threads: {median(seconds):.1f} s (median of {len(seconds)}, R included, imports apart). The authors' code "
            "was timed at 39 s on a machine of this kind with two threads, evaluation included.\n\n"
        ) + picture
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
                f"{b['train_seconds'] / a['train_seconds']:.1f}",
                f"{a['train_seconds'] / v['tasks']:.2f} + {a['eval_seconds'] / v['tasks']:.2f}",
                f"{b['train_seconds'] / v['tasks']:.2f} + {b['eval_seconds'] / v['tasks']:.2f}",
                f"{a['import_seconds']:.1f} + {a['build_seconds']:.1f}",
                f"{b['import_seconds']:.1f} + {b['build_seconds']:.1f}",
                f"{100 * v['acc_ours']:.1f} / {100 * v['acc_theirs']:.1f}",
            ]
        )
    head = ["method", "tasks", "times faster", "range (pairs)", "training alone", "ours: train + R, s a task"]
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
        "beforehand, one metric and no logger: its best case. The ratio shrinks as more of its defaults are taken away, so read both. *online*: batch 10, 1,000 images a task, 784-100-100-10; there the reading of test "
        "images is most of avalanche's time, so see *training alone* as well.\n\n"
        + table(head, rows)
        + "\nAvalanche's EWC squares gradients of batch means, with a penalty without ½, and its MAS keeps a moving average: "
        "other quantities, so their accuracies are printed and not compared. Its SI computes its path and holds nothing "
        "back on a CPU (the weights that it saves are views of those being trained): its accuracy is fine-tuning's.\n\n"
        + measured(r, "python benchmarks/peers.py --peer PEER/bin/python")
    )


def growth(r: dict[str, Any]) -> str:
    rows = []
    for name, m in r["table"].items():
        a, b = m["milliseconds"]
        rows.append(
            [
                name,
                f"{m['tasks']:,}",
                f"{a:.2f} → {b:.2f}",
                f"{m['time_slope']:+.2f}, {m['time']}",
                " → ".join(f"{n / 1000:,.0f}" for n in m["bytes"]),
                f"{m['memory_slope']:+.2f}, {m['memory']}",
                f"{m['resident_growth'] / 1e6:+.1f}",
                " / ".join(m["claimed"]),
                "yes" if m["holds"] else "**no**",
            ]
        )
    head = [
        "method",
        "tasks",
        "ms a task",
        "slope, order",
        "kB kept",
        "slope, order",
        "process, MB",
        "claimed: time / memory",
        "holds",
    ]
    constants = ", ".join(f"`{m['constants']}`" for m in r["table"].values())
    own = ", ".join(f"{name} {lr:g}" for name, lr in r["slower"].items())
    return (
        "## How costs grow with the number of tasks\n\n"
        "![Cost of a task over that of the first](growth.png)\n\n"
        f"A stream of up to {r['most_tasks']:,} small tasks ({r['examples']} digits under a permutation each, `{r['training']}`), or as many as "
        f"{r['most_seconds']:g} seconds allow. Time is that of learning a task, with what a method does at its edges; *kept* are the bytes of all "
        "tensors that stay: weights, optimiser, state, past examples. From the end of the first tenth of the tasks to the last. R is left out: it has T² cells, "
        "whatever the method, and each checkpoint holds those measured so far.\n\n"
        "The order: the slope of log cost against log t over the last nine tenths, of medians in bins of equal ratio (time), of what was added since the "
        f"beginning (bytes; a slope of 0 is not one byte more). Up to {r['slack']} is constant, up to {1 + r['slack']} linear, up to "
        f"{2 + r['slack']} quadratic. A claim holds where the order measured is not above it. *process*: how much more memory the process holds at the end.\n\n"
        + table(head, rows)
        + f"\nMethods: {constants}. Learning rates of their own: {own}.\n\n"
        + measured(r, "python benchmarks/growth.py")
    )
