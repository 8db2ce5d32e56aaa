"""Tables of networks that grow."""

from __future__ import annotations

from typing import Any

from pages.cells import SAME, grid, measured, over, percent, reduced, table


def net2net(r: dict[str, Any]) -> str:
    rows = [[name, f"{r['rates'][name]:g}", *[percent(c) for c in columns]] for name, columns in r["table"].items()]
    minus = [[name, *[percent(c, sign=True) for c in columns]] for name, columns in r["net2net_minus"].items()]
    first, second = r["filters"]
    at = [f"after {n}" for n in r["at"]]
    c = r["net2net_minus"]["wider, random padding"][-1]
    sure = c["half"] is not None and abs(c["mean"]) > c["half"]
    verdict = ("agrees" if c["mean"] > 0 else "does not agree") if sure else "is undecided"
    return (
        "## Net2Net on MNIST\n\n"
        f"Convolutions of {first} and {second} filters, {r['units']} hidden units, a teacher of {r['teacher']} iterations; wider: the "
        f"first convolution gets {4 * first} filters; `{r['training']}`; {over(r['seeds'], SAME)}, of {r['test']:,} test "
        "images, percent, after so many further iterations.\n\n"
        + table(["network", "learning rate", *at], rows)
        + "\nNet2Net less the other, on the same seeds:\n\n"
        + table(["", *at], minus)
        + "\nThe learning rate is the best of "
        + " and ".join(f"{float(lr):g}" for lr in next(iter(r["tried"].values())))
        + " on held-out training images with a seed of its own. A third party's single run, with other filters, has Net2Net above random "
        f"padding after 200 iterations by 3.3 points; here the order {verdict}: {percent(c, sign=True)}.\n\n"
        + measured(r, "python benchmarks/net2net.py" + reduced(r, "seeds", "filters", "units", "teacher", "test"))
    )


def progressive(r: dict[str, Any]) -> str:
    rows = [
        [
            name,
            percent(c["acc"]),
            percent(c["learning_accuracy"]),
            f"{c['parameters']['mean']:.2f}",
            "–" if name not in r["progressive_minus"] else percent(r["progressive_minus"][name], sign=True),
        ]
        for name, c in r["table"].items()
    ]
    curves = [[name, *[percent(c) for c in columns]] for name, columns in r["controls"].items()]
    return (
        "## Progressive networks, and accuracy for parameters\n\n"
        "![Average accuracy against parameters](parameters.png)\n\n"
        f"Permuted MNIST, {r['tasks']} tasks of {r['examples']:,} images with task ids and outputs of their own, one pass, `{r['net']}`, "
        f"`{r['training']}`; {over(r['seeds'], ', and the permutations')}, percent. Parameters are those needed at the end, of one network's "
        f"{r['one']:,}; the wide network has two layers of {r['wide']}."
        + (
            f" Reduced from ten tasks of 60,000 images: {r['examples'] // 10:,} steps a task.\n\n"
            if r["examples"] < 60_000
            else "\n\n"
        )
        + table(["method", "ACC", "when just learnt", "parameters", "progressive less it, same seeds"], rows)
        + f"\nEWC's strength: {grid(r['strength'])}.\n\n"
        "The paper's controls: accuracy on a second rotation of the digits (2,000 images) after so many iterations.\n\n"
        + table(["", *[str(n) for n in r["at"]]], curves)
        + "\n![Which columns a new one reads](columns.png)\n\n"
        "What each column reads of the columns before it, as shares of Σ Fθ² over the weights of the layer that read it and of its own (F: "
        "exact Fisher information of 100 examples, seed 0).\n\n"
        + measured(r, "python benchmarks/progressive.py" + reduced(r, "seeds", "tasks", "examples"))
    )


def expert_gate(r: dict[str, Any]) -> str:
    rows = []
    for name, part in r["table"].items():
        relations = [v for row in part["highest_relatedness"] for v in row]
        rows.append(
            [
                name,
                percent(part["gate"]),
                f"{min(relations):.2f} to {max(relations):.2f}",
                f"{part['distilled']} of {part['decisions']}",
            ]
        )
    arms = list(next(iter(r["table"].values()))["acc"])
    accs = [[arm, *[percent(part["acc"][arm]) for part in r["table"].values()]] for arm in arms]
    return (
        "## Expert Gate\n\n"
        "![The gate's choice and relatedness](expert-gate.png)\n\n"
        f"{r['examples']:,} images a task (of {r['digits']} and {r['clothes']}), experts `{r['net']}`, `{r['training']}`, `{r['method']}`; the "
        f"task is hidden; {over(r['seeds'], ', and which examples a task has')}, percent.\n\n"
        + table(["stream", "right expert", "highest relatedness of a new task", "distilled"], rows)
        + "\nAverage accuracy at the end:\n\n"
        + table(["", *r["table"]], accs)
        + "\n"
        + measured(
            r, "python benchmarks/expert_gate.py" + reduced(r, "seeds", "examples", "gate_epochs", "digits", "clothes")
        )
    )


COPY = {  # accuracy on previous levels that the authors' notebooks hold, one run each, with other sizes and levels
    "large+GEM": 0.9077,
    "small+GEM+Net2Net": 0.8297,
    "small+Net2Net": 0.5816,
    "large": 0.5463,
}


def copy_curriculum(r: dict[str, Any]) -> str:
    of = {arm: {k: c[k]["mean"] for k in ("passed", "previous", "future")} for arm, c in r["table"].items()}
    gem = [of[a]["previous"] for a in COPY if "GEM" in a]
    free = [of[a]["previous"] for a in COPY if "GEM" not in a]
    future = [o["future"] for o in of.values()]
    sooner = [("large+GEM", "large"), ("small+GEM+Net2Net", "small+Net2Net")]
    claims = {
        "GEM keeps the previous levels (every learner with it above every one without)": min(gem) > max(free),
        "at equal size GEM stops earlier": all(of[a]["passed"] < of[b]["passed"] for a, b in sooner),
        "small+GEM+Net2Net passes as many levels as large+GEM": of[sooner[1][0]]["passed"] >= of["large+GEM"]["passed"],
        "accuracy on future levels differs little (by less than 5 points)": max(future) - min(future) < 0.05,
    }
    said = "".join(f"- {claim}: {'yes' if found else 'no'}\n" for claim, found in claims.items())
    rows = []
    for arm, c in r["table"].items():
        grown = ", ".join("–" if run["grown_at"] is None else str(run["grown_at"]) for run in r["runs"][arm])
        cells = [
            f"{c['passed']['mean']:.1f} of {len(r['levels'])}",
            grown,
            percent(c["previous"]),
            percent(c["future"]),
        ]
        rows.append([arm, *cells, f"{100 * COPY[arm]:.1f}"])
    levels = ", ".join(f"{length} steps of {bits} bits" for bits, length in r["levels"])
    return (
        "## Growth on demand on a curriculum of copying\n\n"
        f"A small version of arXiv 1811.07017: {levels}; {r['steps']} steps a level, Adam {r['lr']:g}, LSTM of 64 units (large) or 32 "
        f"(small), which Net2Net widens to 64. Bit accuracy in percent, {over(r['seeds'], ', and the sequences')}: on the levels before and "
        "after the one just learnt, mean over levels. A level is passed above 80.\n\n"
        + table(
            [
                "learner",
                "levels passed",
                "grew at level, by seed",
                "previous levels",
                "future levels",
                "previous, theirs",
            ],
            rows,
        )
        + "\nTheirs are single runs with other sizes and levels, so what is compared is what the paper claims, here in means:\n\n"
        + said
        + "\n"
        + measured(r, "python benchmarks/copy_curriculum.py" + reduced(r, "seeds", "steps", "lr"))
    )
