"""Does the recommended order beat random ones? Measured by running them.

Rotated digits (ten tasks of mnist-mini), CLINC150 by domain (the task known), and the stream whose best order is known by
construction. For each seed (of the stream, the weights and every draw): transfers are measured on held-out training examples, the
learned order is found from them, and it, the order as it comes, easy and hard tasks first, and random orders are run with
fine-tuning. Differences are paired by seed. Then: which tasks want to come early or late, over the random orders.

    LIFELONG_DATA=... python benchmarks/curriculum.py [--seeds 5] [--orders 6] [--jobs 2]
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from harness import Benchmark, plain, say
from lifelong import MLP, Finetune, Interval, Stream, Training, interval, paired, rotated
from lifelong.curriculum import figures as curricula
from lifelong.curriculum.affinity import Probe, measure
from lifelong.curriculum.order_effect import orders, slope, study
from lifelong.curriculum.order_rules import by_difficulty, from_transfers
from lifelong.curriculum.order_search import affinity_matrix, estimate, recommend
from lifelong.curriculum.taxonomy import SELF, Transfer
from lifelong.report import figures
from lifelong.streams import clinc150, turning
from lifelong.streams.turning import closed_form

SETTINGS: dict[str, tuple[Callable[[int], Stream], MLP, Training, Probe]] = {
    "rotated": (
        lambda seed: rotated("mnist-mini", tasks=10, seed=seed),
        MLP((100, 100)),
        Training(lr=0.1, batch_size=32, epochs=5),
        Probe(few=100),
    ),
    "clinc150": (
        lambda seed: clinc150("task", examples=450),
        MLP((100,)),
        Training(lr=0.2, batch_size=32, epochs=8),
        Probe(few=150),
    ),
    "turning": (
        lambda seed: turning(tasks=5, degrees=40, seed=seed),
        MLP(()),
        Training(lr=0.1, batch_size=10, epochs=5, weight_decay=0.1),
        Probe(few=20, how="finetune"),
    ),
}
MEASURES = ("acc", "bwt", "fwt")


def one(name: str, seed: int, count: int) -> dict[str, Any]:
    """All orders of one stream with one seed."""
    make, net, training, probe = SETTINGS[name]
    stream = make(seed)
    T = len(stream)
    transfers = measure(stream, net, training, probe, seed=seed)
    found = from_transfers(transfers)
    easy = by_difficulty(stream, net, training, seed=seed)
    chosen = {
        "learned": found.order,
        "learned, no taxonomy": recommend(transfers.affinities, None, transfers.tasks),
        "learned for FWT": recommend(transfers.affinities, None, transfers.tasks, "fwt"),
        "as it comes": tuple(range(T)),
        "easy first": easy.order,
        "hard first": tuple(reversed(easy.order)),
    }
    drawn = orders(T, count, seed)
    ran = study(stream, [*chosen.values(), *drawn], Finetune(), net, training, seeds=[seed])
    values = {m: ran.values(m)[:, 0].tolist() for m in MEASURES}
    order_of: dict[str, Any] = {}
    if name == "turning":
        degrees = [stream.notes["degrees"][t.name] for t in stream]
        truth = {o: closed_form([degrees[i] for i in o]) for o in itertools.permutations(range(T))}
        for rule, goal in (("learned", "acc"), ("learned, no taxonomy", "acc"), ("learned for FWT", "fwt")):
            own = getattr(truth[chosen[rule]], goal)
            order_of[f"rank of {rule}"] = 1 + sum(getattr(t, goal) > own + 1e-9 for t in truth.values())
        order_of["orders_there_are"] = len(truth)
    table = transfers.affinities
    A = affinity_matrix(table, transfers.tasks)
    first = [(s, t) for s in transfers.tasks for t in transfers.tasks]
    return {
        **order_of,
        "tasks": list(transfers.tasks),
        "degrees": stream.notes.get("degrees"),
        "chosen": {n: [stream[i].name for i in o] for n, o in chosen.items()},
        "drawn": [[stream[i].name for i in o] for o in drawn],
        "values": {n: {m: values[m][k] for m in MEASURES} for k, n in enumerate(chosen)},
        "random": {m: values[m][len(chosen) :] for m in MEASURES},
        "estimated": {m: [getattr(estimate(A, o), m) for o in drawn] for m in ("acc", "fwt")},
        "why": dict(found.why),
        "probe_examples": transfers.costs.forward,
        "loss": [transfers.mean_losses()[Transfer((s,), t)] for s, t in first],
        "p": [table.p[Transfer((s,), t)] for s, t in first],
        "mean_gain": float(np.mean([v for t, v in table.gain.items() if SELF not in t.sources])),
        "mean_quality": float(np.mean([v for t, v in table.quality.items() if SELF not in t.sources])),
    }


def rows_of(ran: list[dict[str, Any]]) -> dict[str, Any]:
    """Each rule's measures, and by how much they differ from random orders' on the same seeds."""
    chance = {m: [float(np.mean(r["random"][m])) for r in ran] for m in MEASURES}
    rows: dict[str, Any] = {"random": {m: interval(chance[m])._asdict() for m in MEASURES}}
    for rule in ran[0]["chosen"]:
        values = {m: [r["values"][rule][m] for r in ran] for m in MEASURES}
        rows[rule] = {m: interval(values[m])._asdict() for m in MEASURES}
        rows[rule]["minus_random"] = {m: paired(values[m], chance[m])._asdict() for m in MEASURES}
    return rows


def wants_of(name: str, ran: list[dict[str, Any]]) -> dict[str, Interval]:
    """Which tasks want to come early or late, over the random orders."""
    found = {}
    for task in sorted(ran[0]["tasks"], key=lambda t: (len(t), t)) if name != "clinc150" else ran[0]["tasks"]:
        places = [o.index(task) for r in ran for o in r["drawn"]]
        acc = [a - float(np.mean(r["random"]["acc"])) for r in ran for a in r["random"]["acc"]]
        found[task] = slope(places, acc)
    return found


def agreement(ran: list[dict[str, Any]], measure: str) -> float:
    """Correlation of what was estimated of the random orders and what they gave, within each seed."""
    estimated, measured = (
        np.concatenate([np.array(r[key][measure]) - np.mean(r[key][measure]) for r in ran])
        for key in ("estimated", "random")
    )
    return float(np.corrcoef(estimated, measured)[0, 1])


def summary(name: str, ran: list[dict[str, Any]]) -> dict[str, Any]:
    """What results/ holds of a stream, from what each seed gave."""
    _, net, training, probe = SETTINGS[name]
    means = ("mean_gain", "mean_quality", "probe_examples")
    return {
        "net": str(net),
        "training": str(training),
        "probe": str(probe),
        "rows": rows_of(ran),
        "spread_of_random": float(np.mean([np.std(r["random"]["acc"], ddof=1) for r in ran])),
        "wants": plain(wants_of(name, ran)),
        **{key: float(np.mean([r[key] for r in ran])) for key in means},
        "orders": [r["chosen"]["learned"] for r in ran],
        "estimate_against_measured": {m: agreement(ran, m) for m in ("acc", "fwt")},
        "ranks": {k.removeprefix("rank of "): [r[k] for r in ran] for k in ran[0] if k.startswith("rank of ")},
        "orders_there_are": ran[0].get("orders_there_are"),
    }


def draw(bench: Benchmark, name: str, ran: list[dict[str, Any]]) -> None:
    """How related the tasks are, and what their places in the order do."""
    tasks = ran[0]["tasks"]
    T = len(tasks)
    panels = {
        f"mean loss, {name}": np.mean([r["loss"] for r in ran], 0).reshape(T, T),
        "affinity (AHP)": np.mean([r["p"] for r in ran], 0).reshape(T, T),
    }
    bench.picture(f"affinity-{name}.png", figures.png(curricula.maps(panels, tasks, tasks), dpi=110))
    pooled = {m: [v for r in ran for v in r["random"][m]] for m in MEASURES}
    marked = {"learned": rows_of(ran)["learned"]["acc"]["mean"]}
    effect = curricula.effect(pooled, wants_of(name, ran), marked)
    bench.picture(f"order-{name}.png", figures.png(effect, dpi=110))


def main() -> None:
    bench = Benchmark("curriculum", __doc__, seeds=5, jobs=2)
    bench.flag("--orders", type=int, default=6)
    said = bench.said
    with bench.runs(said.orders) as runs:
        units = {(name, seed): (name, seed, said.orders) for name in SETTINGS for seed in range(said.seeds)}
        found = runs(one, units)
    streams = {}
    for name in SETTINGS:
        ran = [found[name, seed] for seed in range(said.seeds)]
        streams[name] = summary(name, ran)
        say(name, {rule: round(row["acc"]["mean"], 3) for rule, row in streams[name]["rows"].items()})
        if name != "turning":
            draw(bench, name, ran)
    bench.save(1, seeds=said.seeds, random_orders=said.orders, streams=streams)


if __name__ == "__main__":
    main()
