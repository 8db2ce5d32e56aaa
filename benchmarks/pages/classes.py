"""Tables of new classes, on images, sentences and rows."""

from __future__ import annotations

from typing import Any

from pages.cells import SAME, grid, measured, over, percent, table


def new_classes(r: dict[str, Any]) -> str:
    steps = [[n, percent(c["average"]), percent(c["end"])] for n, c in r["found"]["steps"].items()]
    pages = (
        "## New classes on frozen features\n\n"
        "CIFAR-100 seen by EfficientNet-Lite0 (ImageNet, frozen, 64 pixels), 250 training and 50 test images a class; "
        f"`{r['net']}`, `{r['training']}`, {r['slots']} exemplars where a method keeps any, "
        f"{over(r['seeds'], ', and the order of the classes')}, percent. No published table has these features, so there is no verdict.\n\n### Steps of ten classes\n\n"
        + table(["method", "mean over the steps", "at the end"], steps)
    )
    if "one_by_one" in r["found"]:
        rows = [
            [n, *[f"{c[k]['mean']:.3f} ± {c[k]['half']:.3f}" for k in ("base", "new", "all")], percent(c["end"])]
            for n, c in r["found"]["one_by_one"].items()
        ]
        rows.append(
            ["joint, once, a_ideal", "–", "–", "–", percent(next(iter(r["found"]["one_by_one"].values()))["ideal"])]
        )
        pages += (
            "\n### Fifty classes, then one at a time\n\nFearNet's measures, against joint training on all classes. Its constants are "
            "ours, and so is a gate that reads codes; the gate of inputs learns that what is drawn is not real.\n\n"
            + table(["method", "Ω base", "Ω new", "Ω all", "accuracy at the end"], rows)
        )
    return pages + "\n" + measured(r, "python benchmarks/new_classes.py")


CLINC = {
    "clinc150": "CLINC150 by domain (arXiv 1909.02027)",
    "banking77": "Banking77 in steps (arXiv 2003.04807)",
}


def clinc(r: dict[str, Any]) -> str:
    pages = []
    for name, s in r["streams"].items():
        rows = [
            [
                n,
                percent(c["end"]),
                percent(c["average"]),
                percent(c["forgetting"], sign=True),
                f"{c['kept']['mean']:.1f}",
            ]
            for n, c in sorted(s["cells"].items(), key=lambda cell: cell[1]["end"]["mean"])
        ]
        strengths = "; ".join(f"{n} {grid(c)}" for n, c in s["strengths"].items())
        pages.append(
            f"### {CLINC[name]}\n\n{s['outputs']} intents in {s['tasks']} tasks, {s['train']:,} training and {s['test']:,} test sentences.\n\n"
            + table(["method", "at the end", "mean over the steps", "forgetting", "kept, MiB"], rows)
            + f"\nStrengths chosen on held-out training data with a seed of its own: {strengths}.\n"
        )
    return (
        "## New intents on frozen sentence features\n\n"
        f'Sentences seen by all-MiniLM-L6-v2 (frozen, 384 wide), scenario "class"; `{r["net"]}`, `{r["training"]}`, {r["each"]} sentences an intent '
        f"where a method keeps any, {over(r['seeds'], ', and the order of the intents')}, percent. *Kept*: what a method stores because "
        "of the past. No published table has these features, so there is no verdict.\n\n"
        + "\n".join(pages)
        + "\n"
        + measured(r, "python benchmarks/clinc.py")
    )


def sentences(r: dict[str, Any]) -> str:
    flags = "".join(f" --{n} {r['setting'][n]}" for n in ("examples", "tests", "length", "epochs"))
    said, names = r["setting"], {"clinc150": "CLINC150 by domain", "banking77": "Banking77 in steps of eleven"}
    parts = []
    for name, part in r["found"].items():
        rows = [
            [n, *[percent(c[k]) if k in c else "–" for k in ("end", "average", "new")]]
            for n, c in part["cells"].items()
        ]
        strengths = "; ".join(f"{n} {grid(c)}" for n, c in part["strengths"].items())
        parts.append(
            f"### {names[name]}, {part['tasks']} tasks\n\n"
            + table(["method", "at the end", "mean over the tasks", "each task when just learnt"], rows)
            + (f"\nStrengths: {strengths}.\n" if strengths else "")
        )
    return (
        "## New intents for a sentence encoder that learns\n\n"
        f'all-MiniLM-L6-v2 with LoRA of rank {said["rank"]} in `transformers.Trainer`, scenario "class"; {said["examples"]} training and '
        f"{said['tests']} test sentences an intent at most, {said['length']} tokens, {said['epochs']} epochs a task, batch {said['batch']}, AdamW at "
        f"{said['lr']:g}; memories of {r['each']} sentences an intent; {over(r['seeds'], ', and the order of the intents')}, "
        f"percent. Strengths chosen on held-out training sentences of the first {r['tuned_on']} tasks, with a seed of their own. Our own "
        "reference; there is no verdict.\n\n"
        + "\n".join(parts)
        + "\n"
        + measured(r, "python benchmarks/sentences.py" + flags)
    )


def fine_tuned(r: dict[str, Any]) -> str:
    rows = [
        [
            name,
            percent(c["acc"]),
            percent(c["learning_accuracy"]),
            percent(c["bwt"], sign=True),
            f"{c['memory_bytes']['mean'] / 1e6:.1f}",
        ]
        for name, c in r["table"].items()
    ]
    return (
        "## EfficientNet-Lite0, fine-tuned on split CIFAR-100\n\n"
        f"Trained on ImageNet, at 64 pixels; {r['tasks']} tasks of ten new classes, the task hidden; {r['examples']} training and "
        f"{r['test_examples']} test images a task; `{r['training']}`, mirrored and moved images; "
        f"{over(r['seeds'], ', and the order of the classes')}, percent. Latent replay remembers what arrives at `{r['layer']}`.\n\n"
        + table(["method", "ACC", "just learnt", "BWT", "memory, MB"], rows)
        + f"\nMethods: {'; '.join(f'{n}: `{m}`' for n, m in r['methods'].items())}.\n\n"
        + measured(r, "python benchmarks/fine_tuned.py")
    )


def elec2(r: dict[str, Any]) -> str:
    rows = []
    for name, c in r["table"].items():
        lr = f"{c['lr']:g}" if c["grid"] else "–"
        rows.append([name, percent(c["accuracy"]), percent(c["worst_window"]), lr])
    grids = "; ".join(
        f"{name}: " + ", ".join(f"{g}: {100 * a:.1f}" for g, a in c["grid"].items())
        for name, c in r["table"].items()
        if c["grid"]
    )
    networks = {n.partition(", ")[2]: c["accuracy"]["mean"] for n, c in r["table"].items() if n.startswith("network")}
    free = networks.pop("fine-tuning")
    kept = ", ".join(f"{n} {100 * (a - free):+.1f}" for n, a in networks.items())
    return (
        "## Elec2, one row at a time\n\n![Accuracy over the stream](elec2.png)\n\n"
        f"{r['rows']:,} half hours of an electricity market, each answered before it is learnt. Prequential accuracy of the rows behind the "
        f"first {r['first']:,}, and of the worst {r['window']:,} in a row among them, percent; where "
        f"there is chance, {over(r['seeds'], SAME, 'initial weights and draws')}.\n\n"
        + table(["model", "accuracy", f"worst {r['window']:,}", "learning rate"], rows)
        + f"\nPrices move slowly, so that to say what was right before is hard to beat. What was learnt goes out of date, and keeping it has its price; "
        f"from fine-tuning to {kept} points. Learning rates by the accuracy on the first "
        f"{r['first']:,} rows ({grids}). Methods: {'; '.join(f'{n}: `{m}`' for n, m in r['methods'].items())}.\n\n"
        + measured(r, "python benchmarks/elec2.py")
    )


def torchvision(r: dict[str, Any]) -> str:
    rows = []
    for name, c in r["models"].items():
        yes = {True: "yes", False: "no"}
        cells = [
            name,
            f"{c['parameters']:,}",
            yes[c["plain_loop"]],
            f"{c['fisher']:.0e}",
            yes[c["grows"]],
            f"`{c['layer']}`",
            ", ".join(c["acc"]),
        ]
        rows.append(cells)
    sets = "\n".join(f"- {name}: {what}" for name, what in r["data_sets"].items())
    others = ", ".join(f"{n} {v}" for n, v in r["others"].items())
    return (
        "## Models and data sets of torchvision and timm, as they come\n\n"
        f"Seen with {others}; random weights, inputs of 32 pixels. Fine-tuning on the bits of a plain loop; the exact Fisher against one gradient "
        "an example and class in float64 (largest difference, relative); whether outputs grow and the old ones stay; and with which methods two tiny tasks were "
        "learnt, without another line.\n\n"
        + table(["model", "weights", "plain loop", "Fisher", "grows", "latent replay at", "learnt with"], rows)
        + f"\nData sets of torchvision through `stream_of`, learnt with replay:\n\n{sets}\n\n"
        + measured(r, "python benchmarks/torchvision_check.py")
    )
