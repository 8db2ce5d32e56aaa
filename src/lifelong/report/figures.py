"""Pictures of results, each a function of numbers that returns a matplotlib `Figure`.

No pyplot and no lasting change to matplotlib's settings. A method keeps its colour in every picture
of a page; the colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..matrix import Interval, RMatrix, interval
from .results import REFERENCES, Results
from .table import amount

__all__ = [
    "bars",
    "colours",
    "compare",
    "costs",
    "curves",
    "drawing",
    "efficiency",
    "heat",
    "images",
    "new",
    "png",
    "svg",
    "within",
]

# Text and lines; `svg` makes them follow the reader's light or dark scheme.
INK, SOFT, GRID, PAPER = "#1b1b1b", "#6e6e6e", "#dadada", "#fefefe"
_DARK = {INK: "#ebebeb", SOFT: "#a6a6a6", GRID: "#3c4046", PAPER: "#16181b"}
_DARK |= {"#0072b2": "#4aa3df", "#8f6bc2": "#ab8ddb", "#a0522d": "#cc8560"}  # too dark on dark
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8F6BC2", "#A0522D")
_FIXED = {"finetune": SOFT, "joint": INK, "joint_once": INK, "independent": INK}
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlepad": 5.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.color": SOFT,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "lifelong",
}
_CELLS = 12  # tasks up to which a heat map prints its values
_PANELS = 8  # tasks that get a panel of their own


@contextmanager
def drawing() -> Iterator[None]:
    """The look of all pictures, for as long as one is drawn."""
    with matplotlib.rc_context(_STYLE):
        yield


def new(width: float, height: float, **spacing: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", **spacing)
    return figure


def svg(figure: Figure) -> str:
    """As SVG on a transparent ground, its ink following ``prefers-color-scheme``."""
    file = io.StringIO()
    with drawing():
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    light, dark = [], []
    for i, (colour, other) in enumerate(_DARK.items()):
        text = text.replace(colour, f"var(--c{i})")
        light.append(f"--c{i}:{colour}")
        dark.append(f"--c{i}:{other}")
    style = f"<style>:root{{{';'.join(light)}}}@media(prefers-color-scheme:dark){{:root{{{';'.join(dark)}}}}}</style>"
    return text.replace("<defs>", f"{style}<defs>", 1)


def png(figure: Figure, dpi: int = 150) -> bytes:
    """As PNG on white."""
    file = io.BytesIO()
    with drawing():
        figure.savefig(file, format="png", dpi=dpi, facecolor="white")
    return file.getvalue()


def colours(methods: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """A colour and a line style for each method: grey for fine-tuning, ink for references."""
    free = [m for m in methods if m not in _FIXED]
    found: dict[str, tuple[str, Any]] = {
        m: (_PALETTE[i % len(_PALETTE)], _DASHES[i // len(_PALETTE) % len(_DASHES)]) for i, m in enumerate(free)
    }
    ink = [m for m in methods if m in REFERENCES]
    return found | {m: (_FIXED[m], _DASHES[ink.index(m) + 1 if m in ink[:2] else 0]) for m in methods if m in _FIXED}


def images(rows: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Rows of images ``[n, H, W]`` or ``[n, C, H, W]`` with values in 0..1, each with its label."""
    n = max(len(x) for x in rows.values())
    with drawing():
        figure = new(0.55 * n + 1.4, 0.55 * len(rows) + 0.1)
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for ax, (label, x) in zip(axes, rows.items()):
            x = x if x.ndim == 3 else x.transpose(0, 2, 3, 1)
            strip = np.concatenate(list(x), axis=1).clip(0, 1)
            ax.imshow(strip.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_ylabel(label, rotation=0, ha="right", va="center")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
    return figure


def heat(R: RMatrix, names: Sequence[str]) -> Figure:
    """R as a map, ``[T+1, T]``: a row for each moment, a column for each task; undefined cells are
    hatched, and what had just been learnt is framed."""
    T, few = R.T, R.T <= _CELLS
    shown = [_short(name) for name in names]
    with drawing():
        side = 0.55 if few else 5.2 / T
        figure = new(1.9 + max(side * T, 1.2), 1.6 + side * (T + 1) * (0.8 if few else 1))
        ax = figure.subplots()
        ax.patch.set(facecolor=GRID, hatch="////", edgecolor=SOFT)
        image = ax.imshow(np.ma.masked_invalid(R.R), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        if few:
            for (i, j), value in np.ndenumerate(R.R):
                if math.isnan(value):
                    continue
                dark = _luminance(image.to_rgba(np.array(value))) < 0.18
                ink = "#ffffff" if dark else "#000000"
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink)
                if i == j + 1:
                    frame = Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, ec=ink, lw=1.3)
                    ax.add_patch(frame)
            ax.set_xticks(range(T), shown, rotation=40, ha="right", rotation_mode="anchor")
            ax.set_yticks(range(T + 1), ["untrained", *shown])
        else:
            ticks = _ticks(T)
            ax.set_xticks([t - 1 for t in ticks], [str(t) for t in ticks])
            ax.set_yticks([0, *ticks], ["untrained", *(str(t) for t in ticks)])
        ax.set(xlabel="accuracy on task", ylabel="after learning")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, shrink=0.8, aspect=30, pad=0.02, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
    return figure


def curves(results: Results, methods: Sequence[str] | None = None) -> Figure:
    """Accuracy on each task over the stream, a panel a task with its training shaded (as in EWC,
    arXiv 1612.00796, figure 2A), and below the mean over the tasks seen; bands are 95% intervals
    over seeds.

    With many tasks only some, evenly spaced, have a panel.
    """
    methods = results.methods if methods is None else methods
    style = colours(results.methods)
    T = results.T
    chosen = sorted({round(t) for t in np.linspace(0, T - 1, min(T, _PANELS))})
    columns = 1 if T <= _PANELS else 2
    height = math.ceil(len(chosen) / columns)
    after = np.arange(T + 1)
    with drawing():
        figure = new(7.6, 0.95 * height + 2.6)
        grid = figure.add_gridspec(height + 1, columns, height_ratios=[1] * height + [2.4])
        first: Axes | None = None
        for k, j in enumerate(chosen):
            ax = figure.add_subplot(grid[k // columns, k % columns], sharex=first, sharey=first)
            first = first or ax
            ax.axvspan(j, j + 1, color=GRID, alpha=0.7, lw=0)
            for method in methods:
                stack = results.stack(method)[:, :, j]
                _line(ax, after[: j + 1], stack[:, : j + 1], style[method], faint=True)
                _line(ax, after[j:], stack[:, j:], style[method], marked=T <= _PANELS)
            ax.set_title(_title(j, results.tasks[j]), loc="left")
            _over_stream(ax, T)
            ax.tick_params(labelbottom=False, labelleft=k % columns == 0)
        ax = figure.add_subplot(grid[height, :])
        ends = {}
        for method in methods:
            stack = results.stack(method)
            seen = np.stack([stack[:, i, :i].mean(axis=1) for i in range(1, T + 1)], axis=1)
            _line(ax, after[1:], seen, style[method], marked=T <= _PANELS)
            ends[method] = float(seen[:, -1].mean())
        ax.set_title("mean over the tasks seen", loc="left")
        _over_stream(ax, T)
        ax.set(xlabel="tasks learnt")
        _label_ends(ax, T, ends, style)
    return figure


def within(
    results: Results, x: NDArray[np.int_], task: NDArray[np.int_], found: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Accuracy on each task at moments within the tasks: a panel a task, its own training shaded.

    Args:
        x: steps of the whole stream at each moment, ``[n]``.
        task: which task was being learnt, from 0, ``[n]``.
        found: of each method ``[seeds, n, T]``, NaN for tasks to come.
    """
    style, T = colours(results.methods), results.T
    chosen = sorted({round(t) for t in np.linspace(0, T - 1, min(T, _PANELS))})
    with drawing():
        figure = new(7.6, 1.15 * len(chosen) + 0.7)
        panels = figure.subplots(len(chosen), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        ends = [0, *(int(x[task == t].max()) for t in range(T))]
        for ax, j in zip(panels, chosen):
            ax.axvspan(ends[j], ends[j + 1], color=GRID, alpha=0.7, lw=0)
            for method, values in found.items():
                colour, dash = style[method]
                each = values[:, task >= j, j]
                ax.plot(x[task >= j], each.mean(axis=0), color=colour, ls=dash, lw=1.2, label=method)
                if len(each) > 1:
                    half = np.array([interval(column).half for column in each.T])
                    mean = each.mean(axis=0)
                    ax.fill_between(x[task >= j], mean - half, mean + half, color=colour, alpha=0.18, lw=0)
            ax.set_title(_title(j, results.tasks[j]), loc="left")
            ax.set(xlim=(0, ends[-1]), ylim=(0, 1.02), yticks=[0, 0.5, 1])
            ax.set_xticks(ends if T <= _PANELS else [])
            ax.grid(axis="both")
            ax.tick_params(length=0)
        panels[-1].set(xlabel="steps; a line where a task ends")
        if len(found) > 1:
            figure.legend(
                *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(found), frameon=False
            )
    return figure


def bars(results: Results) -> Figure:
    """Before and after: each task's accuracy when it had just been learnt (pale) and at the end of
    the stream (full); a panel a method. What stays pale was forgotten."""
    T, style = results.T, colours(results.methods)
    columns = min(len(results.methods), 3 if T <= 6 else 2 if T <= 12 else 1)
    rows = math.ceil(len(results.methods) / columns)
    with drawing():
        width = max(4.0, 2.6 * columns) if T <= _CELLS else 7.6
        figure = new(width, 1.9 * rows + 0.5, wspace=0.06, hspace=0.06)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax in panels.flat[len(results.methods) :]:
            ax.set_visible(False)
        for ax in panels.flat[max(0, len(results.methods) - columns) :]:
            ax.tick_params(labelbottom=True)
        at = np.arange(1, T + 1)
        for ax, method in zip(panels.flat, results.methods):
            stack = results.stack(method)
            learnt = np.diagonal(stack[:, 1:], axis1=1, axis2=2)
            end = stack[:, -1]
            colour = style[method][0]
            ax.bar(at, learnt.mean(0), 0.82, color=colour, alpha=0.3, lw=0)
            ax.bar(at, end.mean(0), 0.5, color=colour, lw=0)
            if len(stack) > 1 and T <= _CELLS:
                half = [interval(column).half for column in end.T]
                ax.errorbar(at, end.mean(0), half, fmt="none", ecolor=INK, elinewidth=1)
            ax.set_title(method, loc="left", color=_readable(colour))
            before, now = float(learnt.mean()), float(end.mean())
            said = f"{_plain(before)} → {_plain(now)}"
            ax.set_title(said, loc="right", color=SOFT, fontsize=9.5)
            ax.set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
            ax.set_xticks(_ticks(T) if T > 10 else at)
            ax.grid(axis="y")
            ax.tick_params(length=0)
            ax.spines["left"].set_visible(False)
        figure.supxlabel("task; pale: when just learnt, full: at the end", fontsize=9.5)
        figure.supylabel("accuracy", fontsize=9.5)
    return figure


def costs(results: Results) -> Figure:
    """Training seconds, bytes kept because of past tasks, and parameters, of each method."""
    what = {
        "train_seconds": "training time",
        "memory_bytes": "memory beside the network",
        "parameters": "parameters",
    }
    style, at = colours(results.methods), range(len(results.methods))
    with drawing():
        figure = new(8.6, 0.32 * len(at) + 0.7)
        for ax, (metric, title) in zip(figure.subplots(1, 3, sharey=True), what.items()):
            found = [results.interval(method, metric) for method in results.methods]
            means = np.nan_to_num([v.mean for v in found])
            ax.barh(at, means, 0.62, color=[style[m][0] for m in results.methods])
            widest = max(float(means.max()), 1e-12)
            for y, v, mean in zip(at, found, means):
                half = np.nan_to_num(v.half)
                if half > 0:
                    ax.errorbar(mean, y, xerr=half, fmt="none", ecolor=INK, elinewidth=1)
                ax.annotate(
                    amount(v.mean, metric),
                    (mean + half, y),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                )
            ax.set_title(title, loc="left")
            ax.set(xlim=(0, widest * 1.45), xticks=[])
            ax.set_yticks(at, results.methods)
            ax.tick_params(length=0)
            ax.spines[["bottom"]].set_visible(False)
        ax.invert_yaxis()
    return figure


def efficiency(results: Results) -> Figure:
    """Mean accuracy over the tasks seen against parameters, as multiples of the network that the run began with: a line a method,
    from its first task to its last."""
    style, T = colours(results.methods), results.T
    with drawing():
        figure = new(6.4, 3.6)
        ax = figure.subplots()
        widest = 1.0
        for method in results.methods:
            counts = [results.values.get((method, s, "parameters"), {}) for s in results.seeds[method]]
            ratio = np.array([[c.get(t, np.nan) / c.get(0, np.nan) for t in range(1, T + 1)] for c in counts])
            stack = results.stack(method)
            seen = np.stack([stack[:, i, :i].mean(axis=1) for i in range(1, T + 1)], axis=1)
            x, y, colour = ratio.mean(0), seen.mean(0), style[method][0]
            if math.isnan(x[-1]) or math.isnan(y[-1]):
                continue
            ax.plot(x, y, color=colour, lw=1, alpha=0.6)
            halves = [np.nan_to_num(interval(column).half) for column in (ratio[:, -1], seen[:, -1])]
            ax.errorbar(x[-1], y[-1], halves[1], halves[0], fmt="o", color=colour, ms=6, elinewidth=1.4)
            ax.annotate(method, (x[-1], y[-1]), (6, 4), textcoords="offset points", color=_readable(colour))
            widest = max(widest, float(np.nanmax(x)))
        ax.set(xlabel="parameters, of one network's", ylabel="accuracy", xlim=(0.8, widest * 1.6))
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        ax.margins(y=0.15)
        ax.grid(axis="y")
    return figure


def compare(results: Results) -> Figure:
    """ACC, BWT and FWT of each method with 95% intervals and every seed; below, the differences
    from the first method, paired seed by seed."""
    what = {
        "acc": "ACC, accuracy at the end",
        "bwt": "BWT, backward transfer",
        "fwt": "FWT, forward transfer",
    }
    methods, style = results.methods, colours(results.methods)
    others = methods[1:]
    first = methods[0]
    blocks = [methods, others] if others else [methods]
    with drawing():
        heights = [len(shown) + 1.5 for shown in blocks]
        figure = new(8.8, 0.32 * sum(heights) + 0.3)
        panels = figure.subplots(len(blocks), 3, sharey="row", squeeze=False, height_ratios=heights)
        for row, (block, shown) in enumerate(zip(panels, blocks)):
            for ax, (metric, title) in zip(block, what.items()):
                for y, method in enumerate(shown):
                    if row == 0:
                        value = results.interval(method, metric)
                        seeds = results.summary(method, metric)
                    else:
                        value = results.difference(method, first, metric)
                        seeds = _differences(results, method, first, metric)
                    _dot(ax, y, value, seeds, style[method][0])
                if row or metric != "acc":
                    ax.axvline(0, color=SOFT, lw=1, zorder=0)
                ax.set_title("" if row else title, loc="left")
                ax.set_yticks(range(len(shown)), shown)
                ax.set(ylim=(len(shown) - 0.3, -0.6))
                ax.margins(x=0.12)
                ax.grid(axis="x")
                ax.locator_params(axis="x", nbins=5)
                ax.tick_params(length=0)
                ax.spines["left"].set_visible(False)
            if row:
                block[0].set_title(f"difference from {first}, same seeds", loc="left")
    return figure


def _differences(results: Results, a: str, b: str, metric: str) -> list[float]:
    of = dict(zip(results.seeds[b], results.summary(b, metric)))
    found = zip(results.seeds[a], results.summary(a, metric))
    return [value - of[seed] for seed, value in found if seed in of]


def _dot(ax: Axes, y: float, value: Interval, seeds: Sequence[float], colour: str) -> None:
    if math.isnan(value.mean):
        ax.annotate(
            "undefined",
            (0.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            color=SOFT,
        )
        return
    if len(seeds) > 1:
        ax.plot(seeds, [y + 0.3] * len(seeds), "o", color=colour, alpha=0.5, ms=3.5, mew=0)
        ax.plot([value.mean - value.half, value.mean + value.half], [y, y], color=colour, lw=2)
    ax.plot(value.mean, y, "o", color=colour, ms=7, mec=PAPER)


def _line(
    ax: Axes,
    x: NDArray[np.int_],
    values: NDArray[np.float64],
    style: tuple[str, Any],
    faint: bool = False,
    marked: bool = False,
) -> None:
    """The mean of `values` ``[seeds, len(x)]``, with a band where there are several seeds."""
    colour, dash = style
    mean = values.mean(axis=0)
    if faint:
        ax.plot(x, mean, color=colour, lw=1, ls=":", alpha=0.7)
        return
    alone = np.isfinite(mean).sum() == 1  # a line of one point would not be seen
    marker = "o" if marked or alone else None
    ax.plot(x, mean, color=colour, ls=dash, lw=1.9, marker=marker, ms=3.2, clip_on=False)
    if len(values) > 1:
        half = np.array([interval(column).half for column in values.T])
        low, high = np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)
        ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)


def _over_stream(ax: Axes, T: int) -> None:
    ax.set(xlim=(0, T), ylim=(0, 1.02), yticks=[0, 0.5, 1])
    ax.set_xticks([0, *_ticks(T)])
    ax.grid(axis="y")
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(False)


def _label_ends(ax: Axes, T: int, ends: dict[str, float], style: dict[str, tuple[str, Any]]) -> None:
    """Names the lines where they end, moved apart where they end close together."""
    known = {m: y for m, y in ends.items() if not math.isnan(y)}
    for (method, y), place in zip(known.items(), _spread(list(known.values()), 0.11)):
        colour = style[method][0]
        ax.annotate(
            f"{method} {y:.2f}",
            (T, y),
            (T * 1.025, place),
            color=_readable(colour),
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
        )


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """The values moved as little as need be to stand `gap` apart, in their order and above 0."""
    order = np.argsort(values, kind="stable")
    placed = np.asarray(values, dtype=float)[order]
    for _ in range(200):
        close = np.flatnonzero(np.diff(placed) < gap - 1e-3)
        if not len(close):
            break
        for i in close:
            middle = (placed[i] + placed[i + 1]) / 2
            placed[i], placed[i + 1] = middle - gap / 2, middle + gap / 2
    if len(placed):
        placed += max(0.0, gap / 2 - placed[0])
    back = np.empty_like(placed)
    back[order] = placed
    return [float(v) for v in back]


def _ticks(T: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, T) if T / s <= 10)
    return list(range(step, T + 1, step))


def _title(j: int, name: str) -> str:
    plain = f"task {j + 1}"
    return plain if name == plain else f"{plain}: {_short(name, 40)}"


def _short(name: str, length: int = 18) -> str:
    # A dollar sign would begin matplotlib's mathematics.
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")


def _plain(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _luminance(colour: Any) -> float:
    r, g, b = to_rgb(colour)
    return float(0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2)


def _readable(colour: str) -> str:
    """The colour for words; the palest ones are too weak for that."""
    return INK if _luminance(colour) > 0.4 else colour
