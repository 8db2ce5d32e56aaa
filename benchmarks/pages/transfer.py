"""Tables of what tasks give each other: GEM's, and life-long against transfer learning."""

from __future__ import annotations

from typing import Any

from pages.cells import grid, measured, over, percent, table


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
    picture = "![Accuracy over twenty permutations](gem-permutations.png)\n\n" if "permutations" in r["table"] else ""
    return (
        "## The GEM paper's MNIST tasks\n\n"
        f"Twenty tasks of 1,000 images, batch 10, `{r['net']}`, {over(r['seeds'], ', and the rotations or permutations')} (theirs one run). Learning rates are "
        'the authors\', but for "single shuffled", which has that of "single": theirs for that row could not be verified, and 0.003 learns '
        'too little in one pass. "independent" has the T-th part of the hidden units and begins as the last task ended, as in the script of '
        'the authors ("independent anew": from new weights), "multimodal" an input layer a task. A verdict asks '
        "whether their number lies in our interval, widened by half a point for its rounding; theirs are of one seed. EWC's strength is "
        "another than theirs, whose Fisher squares a mean gradient.\n\n"
        + "\n".join(pages)
        + f"\nEWC's strength, chosen on held-out training data with one seed: {strengths}.\n\n"
        + picture
        + measured(r, "python benchmarks/gem.py")
    )


def gem_angles(r: dict[str, Any]) -> str:
    rows = [[pair, f"{angle:.1f}°"] for pair, angle in r["degrees"].items()]
    return (
        "### The projection, from real gradients\n\n"
        "![g, g₁, g₂ and the projected gradient](gem-angles.png)\n\n"
        f"{r['source']}, rotated, the third of three tasks, step {r['step']}: the one at which the new gradient g is most against both "
        "past tasks' gradients g₁ and g₂; margin 0. Drawn in the space of three dimensions that they span, each at length 1:\n\n"
        + table(["between", "angle"], rows)
        + "\n"
        + measured(r, "python benchmarks/gem_angles.py")
    )


def cifar(r: dict[str, Any]) -> str:
    keys = ("acc", "forgetting", "learning_accuracy")
    rows = [[n, f"{c['lr']:g}", *[percent(c[k]) for k in keys]] for n, c in r["table"].items()]
    return (
        "## Split CIFAR-100 in one pass\n\n"
        f"20 tasks of 5 classes, the task known, ResNet-18 with 20 filters, one pass over {r['examples']} images a task, batch 10, 65 memories a "
        f"task, A-GEM's reference from {r['memory_batch']} of them a step, R from {r['test_examples']} test images a task; {over(r['seeds'], ', and which classes make a task')}, percent. The papers take "
        "2,500 images, 1,300 memories and 500 test images, so there is no verdict.\n\n"
        + table(["method", "learning rate", "ACC", "forgetting", "learning accuracy"], rows)
        + "\n"
        + measured(r, "python benchmarks/cifar.py")
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
        "Two corpora: accuracy on the old task (corpus 1) and on the new (corpus 2) after both, percent; "
        f"{over(r['seeds'], ', and the noise and the rotations')}. Transfer learning "
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
