"""Pictures of orders, affinities and taxonomies, each a function of numbers that returns a matplotlib `Figure`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from numpy.typing import ArrayLike, NDArray

from ..matrix import Interval
from ..taxonomy import Taxonomy
from .figures import GRID, INK, SOFT, drawing, new

__all__ = ["effect", "graphs", "maps"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8F6BC2", "#A0522D")


def graphs(taxonomies: Mapping[str, Taxonomy]) -> Figure:
    """Taxonomies side by side: what is supervised at the left, each target at the right, and a line for each source of its
    transfer. A target that is learnt from its own labels is set in bold."""
    tall = max(len(t.transfers) for t in taxonomies.values())
    with drawing():
        figure = new(4.6 * len(taxonomies), 0.24 * tall + 0.7)
        for ax, (title, taxonomy) in zip(figure.subplots(1, len(taxonomies), squeeze=False).flat, taxonomies.items()):
            # targets of the same sources together, the sources beside the middle of their targets
            chosen = sorted(taxonomy.transfers, key=lambda t: [taxonomy.sources.index(s) for s in t.needs])
            right = {t.target: float(i) for i, t in enumerate(chosen)}
            middle = {s: float(np.mean([right[t.target] for t in chosen if s in t.needs])) for s in taxonomy.sources}
            ranked = sorted(middle, key=lambda s: middle[s])
            gap = (len(chosen) - 1) / max(1, len(ranked) - 1)
            left = {s: i * gap if len(ranked) > 1 else middle[s] for i, s in enumerate(ranked)}
            colour = {s: _COLOURS[i % len(_COLOURS)] for i, s in enumerate(ranked)}
            for t in chosen:
                for s in t.needs:
                    ends = (0, left[s]), (0.5, left[s]), (0.5, right[t.target]), (1, right[t.target])
                    curve = Curve(list(ends), [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
                    ax.add_patch(PathPatch(curve, fc="none", ec=colour[s], lw=1.4, alpha=0.8))
                own = t.needs == (t.target,)
                weight = "bold" if own else "normal"
                ax.text(1.03, right[t.target], t.target, va="center", fontsize=8, color=INK, weight=weight)
            for s, y in left.items():
                ax.text(-0.03, y, s, va="center", ha="right", fontsize=8, color=colour[s], weight="bold")
            ax.set_title(f"{title}: Σ {taxonomy.objective:.3f}", x=0.4)
            ax.set(xlim=(-0.95, 2.0), ylim=(len(chosen) - 0.3, -0.7))
            ax.axis("off")
    return figure


def maps(panels: Mapping[str, ArrayLike], sources: Sequence[str], targets: Sequence[str]) -> Figure:
    """Heat maps ``[S, T]`` side by side: a row for each source, a column for each target, each panel with a scale of its own."""
    side = 0.42 if max(len(sources), len(targets)) <= 12 else 6 / max(len(sources), len(targets))
    with drawing():
        figure = new(len(panels) * (1.9 + side * len(targets)), 1.5 + side * len(sources))
        for ax, (title, values) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items()):
            V: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
            ax.patch.set(facecolor=GRID, hatch="////", edgecolor=SOFT)
            image = ax.imshow(np.ma.masked_invalid(V), cmap="cividis", aspect="auto")
            ax.set_xticks(range(len(targets)), targets, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
            ax.set_yticks(range(len(sources)), sources, fontsize=8)
            ax.set(xlabel="target", ylabel="source")
            ax.set_title(title, loc="left")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            bar = figure.colorbar(image, ax=ax, shrink=0.8, aspect=30, pad=0.02)
            bar.outline.set_visible(False)
    return figure


def effect(
    measures: Mapping[str, Sequence[float]], places: Mapping[str, Interval], marked: Mapping[str, float] | None = None
) -> Figure:
    """Left: each measure over the orders, a point an order, its mean a line; `marked` names values to point out. Right: what a
    task's place does to the accuracy at the end, its slope with its interval."""
    shown = {name: values for name, values in measures.items() if not all(map(math.isnan, values))}
    with drawing():
        figure = new(9.2, max(2.6, 0.26 * len(places) + 1.1))
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        draws = np.random.default_rng(0)
        for i, values in enumerate(shown.values()):
            spread = draws.uniform(-0.17, 0.17, len(values))
            left.plot(i + spread, values, "o", ms=3.5, mew=0, alpha=0.55, color=_COLOURS[i])
            left.hlines(float(np.mean(values)), i - 0.3, i + 0.3, color=INK, lw=1.2)
        for name, value in (marked or {}).items():
            left.plot(0, value, "D", ms=6, mfc="none", mec=INK)
            left.annotate(name, (0, value), (9, 0), textcoords="offset points", va="center", fontsize=8)
        left.set_xticks(range(len(shown)), list(shown))
        left.set(xlim=(-0.6, len(shown) - 0.4), title="by order")
        left.grid(axis="y")
        at = np.arange(len(places))
        slopes = np.array([100 * v.mean for v in places.values()])
        halves = np.nan_to_num([100 * v.half for v in places.values()])
        right.axvline(0, color=SOFT, lw=1)
        right.errorbar(slopes, at, xerr=halves, fmt="o", ms=4, color=_COLOURS[0], elinewidth=1)
        right.set_yticks(at, list(places), fontsize=8)
        right.set(
            ylim=(len(places) - 0.4, -0.6), xlabel="points of accuracy for each place later", title="early or late"
        )
        right.grid(axis="x")
    return figure
