"""Tables of the order of tasks."""

from __future__ import annotations

from typing import Any

from pages.cells import measured, over, percent, table


def taxonomy(r: dict[str, Any]) -> str:
    rows = []
    for order, by_budget in r["orders"].items():
        for budget, row in by_budget.items():
            best, quick, chance, well = row["optimum"], row["greedy"], row["random"], row["random_sources"]
            rows.append(
                [
                    order,
                    budget,
                    f"{best['objective']:.3f}",
                    "–" if quick is None else f"{quick['objective']:.3f}",
                    f"{chance['objective']:.3f}",
                    f"{well['objective']:.3f} ({well['best']:.3f})",
                    *[f"{100 * x[k]:.1f}" for k in ("gain", "quality") for x in (best, chance, well)],
                ]
            )
    every = [row for by_budget in r["orders"].values() for row in by_budget.values()]
    gap = max(abs(row["optimum"]["objective"] - row["every_set"]) for row in every)
    bound = max(abs(row["optimum"]["objective"] - row["bound"]) for row in every)
    said = {"point_match": "point matching", "reshade": "reshading"}
    edges = []
    for target, e in r["edges"].items():
        of = e["rank_among_single_sources"]
        budgets = [
            budget
            for budget, row in r["orders"]["2"].items()
            if {f"edge3d__rgb2sfnorm__{target}", f"rgb2sfnorm__edge3d__{target}"} & set(row["optimum"]["transfers"])
        ]
        edges.append(
            f"- {said[target]}: of {e['single_sources']} single sources 3D edges have rank {of['edge3d']} and surface normals rank "
            f"{of['rgb2sfnorm']}; of {e['transfers']} transfers from other tasks the pair of both has rank {e['rank_of_the_pair']} (gain "
            f"{100 * e['pair_gain']:.1f}%, quality {100 * e['pair_quality']:.1f}%). The optimum with up to two sources takes that pair for it at "
            f"{'budgets ' + ', '.join(budgets) if budgets else 'no budget'}. "
            + ("Found." if e["rank_of_the_pair"] <= 3 else "Not found.")
        )
    return (
        "## The taxonomy that chooses, on Taskonomy's published affinities\n\n"
        "![Taxonomies within three budgets](taxonomy.png)\n\n"
        "Taskonomy (arXiv 1804.08328), 26 sources (a random network among them), 22 targets, transfers of one source and of up to two; every source costs 1, every "
        "target counts 1. The optimum, a greedy choice, the mean of 1,000 random feasible taxonomies, and that of 1,000 random sets of "
        "sources from which each target takes its best transfer (in brackets the best of them): the objective Σp; gain and quality in percent, the means over the "
        "chosen transfers, of the optimum / at random / random sources.\n\n"
        + table(
            ["sources", "budget", "optimum", "greedy", "random", "random sources"]
            + [f"{k}, {w}" for k in ("gain", "quality") for w in ("optimum", "random", "random sources")],
            rows,
        )
        + f"\nEach of {len(every)} optima was verified by trying all 2^26 sets of sources (largest difference {gap:.0e}), and by the solver's "
        f"bound ({bound:.0e}).\n\nAn edge of a lecture was looked for, that 3D edges and surface normals help point matching and "
        "reshading (found: their pair is among a target's three best transfers from other tasks):\n\n"
        + "\n".join(edges)
        + "\n\n"
        + measured(r, "python benchmarks/taxonomy.py")
    )


def curriculum(r: dict[str, Any]) -> str:
    titles = {
        "rotated": "Rotated digits, ten tasks of mnist-mini",
        "clinc150": "CLINC150 by domain, the task known",
        "turning": "A direction that turns: the best order is known",
    }
    parts = []
    for name, s in r["streams"].items():
        rows = [
            ["random", *[percent(s["rows"]["random"][m], sign=m != "acc") for m in ("acc", "bwt", "fwt")], "–", "–"]
        ]
        for rule, row in s["rows"].items():
            if rule != "random":
                d = row["minus_random"]["acc"]
                word = "cannot tell" if abs(d["mean"]) <= d["half"] else "better" if d["mean"] > 0 else "worse"
                cells = [percent(row[m], sign=m != "acc") for m in ("acc", "bwt", "fwt")]
                rows.append([rule, *cells, percent(d, sign=True), word])
        d = s["rows"]["learned"]["minus_random"]["acc"]
        verdict = "beats" if d["mean"] > d["half"] else "loses to" if d["mean"] < -d["half"] else "cannot be told from"
        wants = {t: (w["mean"], w["half"]) for t, w in s["wants"].items()}
        early = ", ".join(f"{t} ({100 * m:+.1f} ± {100 * h:.1f})" for t, (m, h) in wants.items() if m < -h)
        late = ", ".join(f"{t} ({100 * m:+.1f} ± {100 * h:.1f})" for t, (m, h) in wants.items() if m > h)
        fit = s["estimate_against_measured"]
        text = (
            f"### {titles[name]}\n\n"
            f"Network `{s['net']}`, `{s['training']}`, fine-tuning; `{s['probe']}`.\n\n"
            + table(["order", "ACC", "BWT", "FWT", "ACC minus random, same seeds", ""], rows)
            + f"\nThe learned order {verdict} the mean random order: {percent(d, sign=True)} points of accuracy. Random orders of one seed "
            f"differ by a standard deviation of {100 * s['spread_of_random']:.1f} points. Over them the estimate's correlation with what was "
            f"measured is {fit['acc']:+.2f} for ACC and {fit['fwt']:+.2f} for FWT. Finding the order passed {s['probe_examples']:,.0f} examples through "
            f"networks. Tasks that the stream wants early (points of ACC for each place later): {early or 'none that these runs can tell'}; late: "
            f"{late or 'none that these runs can tell'}.\n"
        )
        if s["ranks"]:
            ranks = "; ".join(
                f"{rule} by {'FWT' if 'FWT' in rule else 'ACC'}: {', '.join(map(str, found))}"
                for rule, found in s["ranks"].items()
            )
            text += (
                f"\nRanks among all {s['orders_there_are']} orders by the closed form, seed by seed ({ranks}). Orders that share what "
                "counts share a rank.\n"
            )
        else:
            text += f"\n![Transfers before and after normalisation](affinity-{name}.png)\n\n![What order does](order-{name}.png)\n"
        parts.append(text)
    return (
        "## In which order?\n\n"
        "*Learned*: transfers measured on held-out training examples, a taxonomy with half of the tasks as sources, and the order whose estimated "
        "accuracy is best; *no taxonomy*: the same search over all orders; *for FWT*: over all orders, for forward transfer. *Easy first*: by the held-out accuracy of a network that learns "
        f"the task alone. {r['random_orders']} random orders a seed; {over(r['seeds'], ', the orders, and of the digits and directions the stream itself')}, percent. The constants were fixed before these runs, "
        "on held-out training data of another seed.\n\n"
        + "\n".join(parts)
        + "\n"
        + measured(r, "python benchmarks/curriculum.py")
    )
