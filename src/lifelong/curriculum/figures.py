"""Pictures of orders, affinities and taxonomies, each a function of numbers that returns a matplotlib `Figure`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from numpy.typing import ArrayLike, NDArray

from ..measures.matrix import Interval
from ..report.look import GRID, INK, SMALL, SOFT, colours, cut, drawing, footnote, labels, new, readable
from .taxonomy import Taxonomy

__all__ = ["effect", "graphs", "maps"]

WIDTH = 7.6  # inches
_SIDE, _MIDDLE = 180.0, 170.0  # points beside the lines of a taxonomy for names, and between them
_MEASURES = {"acc": "ACC, accuracy at the end", "bwt": "BWT, backward transfer", "fwt": "FWT, forward transfer"}


def _palette(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name; that it is the name of a method means nothing here."""
    found = colours([f"{i}" for i in range(len(names))])
    return {name: found[f"{i}"][0] for i, name in enumerate(names)}


def graphs(taxonomies: Mapping[str, Taxonomy]) -> Figure:
    """Taxonomies one below the other: what is supervised at the left, each target at the right, and a line for each source of its
    transfer. A target that is learnt from its own labels is set in bold."""
    heights = [0.21 * len(t.transfers) + 0.55 for t in taxonomies.values()]
    with drawing():
        figure = new(WIDTH, sum(heights))
        axes = figure.subplots(len(taxonomies), 1, squeeze=False, height_ratios=heights).flat
        for ax, (title, taxonomy) in zip(axes, taxonomies.items()):
            # targets of the same sources together, the sources beside the middle of their targets
            supervised = sorted(taxonomy.transfers, key=lambda t: [taxonomy.sources.index(s) for s in t.needs])
            right = {t.target: float(i) for i, t in enumerate(supervised)}
            middle = {
                s: float(np.mean([right[t.target] for t in supervised if s in t.needs])) for s in taxonomy.sources
            }
            ranked = sorted(middle, key=lambda s: middle[s])
            gap = (len(supervised) - 1) / max(1, len(ranked) - 1)
            left = {s: i * gap if len(ranked) > 1 else middle[s] for i, s in enumerate(ranked)}
            colour = _palette(ranked)
            for t in supervised:
                for s in t.needs:
                    ends = (0, left[s]), (0.5, left[s]), (0.5, right[t.target]), (1, right[t.target])
                    curve = Curve(list(ends), [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
                    ax.add_patch(PathPatch(curve, fc="none", ec=colour[s], lw=1.4, alpha=0.8))
                weight = "bold" if t.needs == (t.target,) else "normal"
                name = cut(t.target, _SIDE - 20, SMALL, middle=True)
                ax.text(1.03, right[t.target], name, va="center", fontsize=SMALL, color=INK, weight=weight)
            for s, y in left.items():
                name = cut(s, _SIDE - 20, SMALL, middle=True)
                ink = readable(colour[s])
                ax.text(-0.03, y, name, va="center", ha="right", fontsize=SMALL, color=ink, weight="bold")
            ax.set_title(f"{title}: sum of affinities {taxonomy.objective:.3f}", loc="left")
            beside = _SIDE / _MIDDLE
            ax.set(xlim=(-beside, 1 + beside), ylim=(len(supervised) - 0.3, -0.7))
            ax.axis("off")
        footnote(
            figure, "Left: what is supervised. Right: each target, bold where it is learnt from labels of its own."
        )
    return figure


def maps(panels: Mapping[str, ArrayLike], sources: Sequence[str], targets: Sequence[str]) -> Figure:
    """Heat maps ``[S, T]``: a row for each source, a column for each target, each panel with a scale of its own. They stand side by side
    where two can be read so, else one below the other."""
    most = max(len(sources), len(targets))
    side = 0.42 if most <= 12 else 5.0 / most
    beside = 2 if most <= 4 else 1
    rows, columns = math.ceil(len(panels) / beside), min(beside, len(panels))
    size = SMALL if most <= 16 else 6.0
    with drawing():
        figure = new(columns * (2.6 + side * len(targets)), rows * (1.75 + side * len(sources)))
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for ax, (title, values) in zip(axes, panels.items()):
            V: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
            ax.patch.set(facecolor=GRID, hatch="////", edgecolor=SOFT)
            image = ax.imshow(np.ma.masked_invalid(V), cmap="cividis", aspect="auto")
            at = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": size}
            ax.set_xticks(range(len(targets)), labels(targets, 100.0, size), **at)
            ax.set_yticks(range(len(sources)), labels(sources, 110.0, size), fontsize=size)
            ax.set(xlabel="target", ylabel="source")
            ax.set_title(cut(title, 72 * side * len(targets) + 60), loc="left")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            bar = figure.colorbar(
                image, ax=ax, shrink=0.9, aspect=25, pad=0.02, label=title.partition(":")[2].strip() or title
            )
            bar.outline.set_visible(False)
    return figure


def effect(
    measures: Mapping[str, Sequence[float]], places: Mapping[str, Interval], marked: Mapping[str, float] | None = None
) -> Figure:
    """Above: each measure over the orders, a point an order, its mean a line, each with an axis of its own; `marked` names values of the
    first to point out. Below: what a task's place does to the accuracy at the end, its slope with its interval. Measures that are undefined
    for all orders are named."""
    shown = {name: values for name, values in measures.items() if not all(map(math.isnan, values))}
    missing = [name for name in measures if name not in shown]
    palette = _palette(list(shown))
    tall = 0.24 * len(places) + 0.75
    with drawing():
        figure = new(WIDTH, 1.5 + tall)
        parts: Any = figure.subfigures(2, 1, height_ratios=[1.5, tall])
        upper, lower = parts
        draws = np.random.default_rng(0)
        for i, (ax, (name, values)) in enumerate(zip(upper.subplots(1, len(shown), squeeze=False).flat, shown.items())):
            ax.plot(values, draws.uniform(-0.5, 0.5, len(values)), "o", ms=5, mew=0, alpha=0.55, color=palette[name])
            ax.vlines(float(np.nanmean(values)), -0.8, 0.8, color=INK, lw=1.4)
            for said, value in (marked or {}).items() if i == 0 else ():
                ax.plot(value, 1.15, "v", ms=7, color=INK)
                ax.annotate(said, (value, 1.15), (7, 0), textcoords="offset points", va="center", fontsize=SMALL)
            ax.set(ylim=(-1, 1.5), yticks=[], xlabel=_MEASURES.get(name.lower(), name))
            ax.margins(x=0.1)
            ax.locator_params(axis="x", nbins=4)
            ax.grid(axis="x")
            ax.tick_params(length=0)
            ax.spines["left"].set_visible(False)
        upper.suptitle("each order a point, their mean a line", x=0.02, ha="left", fontsize=SMALL + 1)
        ax = lower.subplots()
        at = np.arange(len(places))
        slopes = np.array([100 * v.mean for v in places.values()])
        halves = np.nan_to_num([100 * v.half for v in places.values()])
        ax.axvline(0, color=SOFT, lw=1)
        ax.errorbar(slopes, at, xerr=halves, fmt="o", ms=5, color=next(iter(palette.values()), INK), elinewidth=1.2)
        ax.set_yticks(at, labels(list(places), 150.0, SMALL))
        ax.set(ylim=(len(places) - 0.4, -0.6), xlabel="points of accuracy (ACC) for each place later")
        ax.grid(axis="x")
        ax.tick_params(length=0)
        footnote(
            figure,
            f"Undefined for all orders: {', '.join(missing)}." if missing else "",
            "Lines: 95% intervals over the orders.",
        )
    return figure
