"""The look of all pictures: style, colours, how text is fitted, how far an axis goes, and how seeds are shown.

No pyplot and no lasting change to matplotlib's settings. A method keeps its colour in every picture
of a page; the colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ..measures.matrix import interval
from .results import own_name
from .words import FEW

__all__ = [
    "GRID",
    "INK",
    "PAPER",
    "SMALL",
    "SOFT",
    "TEXT",
    "chosen",
    "colours",
    "cut",
    "drawing",
    "footnote",
    "from_where",
    "labels",
    "limits",
    "luminance",
    "name_ends",
    "name_points",
    "new",
    "png",
    "readable",
    "spread",
    "svg",
    "task_title",
    "ticks",
    "value_axis",
    "width_of",
]

# Text and lines; `svg` makes them follow the reader's light or dark scheme.
INK, SOFT, GRID, PAPER = "#1b1b1b", "#6e6e6e", "#dadada", "#fefefe"
_DARK = {INK: "#ebebeb", SOFT: "#a6a6a6", GRID: "#3c4046", PAPER: "#16181b"}
_DARK |= {"#0072b2": "#3d8fd1", "#8f6bc2": "#ab8ddb", "#a0522d": "#cc8560"}  # too dark on dark
_DARK |= {"#56b4e9": "#9bd6f7"}  # and so that the two blues stay apart
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8F6BC2", "#A0522D")
_FIXED = {"finetune": SOFT, "joint": INK, "joint_once": INK, "independent": INK}
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.5, 1.5)))
TEXT, SMALL = 11.0, 10.0  # points, at 7.6 inches across: 14 pixels on a page of 800
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.titlesize": TEXT + 0.5,
    "axes.titlepad": 5.0,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": TEXT,
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


# --- colours ------------------------------------------------------------------------------------------------------------
def colours(methods: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """A colour and a line style for each method: grey for fine-tuning, ink for references."""
    found: dict[str, tuple[str, Any]] = {}
    used = Counter({INK: 1})  # full lines are the methods'; a reference is dashed
    for method in methods:
        colour = _FIXED.get(own_name(method))
        if colour is None:
            free = used["free"]
            found[method] = (_PALETTE[free % len(_PALETTE)], _DASHES[free // len(_PALETTE) % len(_DASHES)])
            used["free"] += 1
        else:
            found[method] = (colour, _DASHES[used[colour] % len(_DASHES)])
            used[colour] += 1
    return found


def luminance(colour: Any) -> float:
    r, g, b = to_rgb(colour)
    return float(0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2)


def readable(colour: str) -> str:
    """The colour for words: one that is pale becomes darker, as far as it still stands out from a dark ground (4.2 to 1 from both)."""
    pale = luminance(colour)
    r, g, b = (v * (0.2 / pale) ** (1 / 2.2) for v in to_rgb(colour)) if pale > 0.2 else to_rgb(colour)
    return to_hex((r, g, b))


# --- text that fits -----------------------------------------------------------------------------------------------------
def width_of(text: str, size: float = TEXT) -> float:
    """Of a line of text, in points."""
    font = FontProperties(family="DejaVu Sans", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def cut(text: str, points: float, size: float = TEXT, middle: bool = False) -> str:
    """The text as far as there is room for it, with an ellipsis at its end or in its middle where it was cut."""
    shown = text
    if width_of(text, size) > points:
        kept = next((n for n in range(len(text) - 1, 0, -1) if width_of(_without(text, n, middle), size) <= points), 1)
        shown = _without(text, kept, middle)
    return shown.replace("$", r"\$")  # a dollar sign would begin matplotlib's mathematics


def _without(text: str, kept: int, middle: bool) -> str:
    head = (kept + 1) // 2 if middle else kept
    return f"{text[:head]}…{text[len(text) - kept + head :]}"


def labels(names: Sequence[str], points: float, size: float = TEXT) -> list[str]:
    """Names cut to fit and still told apart: those that would read alike are numbered."""
    shown = [cut(name, points, size, middle=True) for name in names]
    alike = Counter(shown)
    lead = width_of("00 ", size)
    return [
        f"{i} {cut(name, points - lead, size, middle=True)}" if alike[said] > 1 else said
        for i, (name, said) in enumerate(zip(names, shown), start=1)
    ]


def task_title(j: int, name: str, points: float, size: float = TEXT) -> str:
    """Of the task `j` (from 0): its number, and its name as far as there is room."""
    plain = f"task {j + 1}"
    return plain if name == plain else cut(f"{j + 1}  {name}", points, size)


def footnote(figure: Figure, *said: str) -> None:
    """Writes what must be known to read a picture at its foot, and makes the picture taller by as much."""
    points, lines = 72 * figure.get_figwidth() - 12, []
    for text in filter(None, said):
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and width_of(longer, SMALL) > points:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    if lines:
        text = "\n".join(line.replace("$", r"\$") for line in lines)
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + 1.25 * SMALL / 72 * len(lines) + 0.08)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=SMALL, color=SOFT)


# --- how far an axis goes -----------------------------------------------------------------------------------------------
def limits(*values: ArrayLike) -> tuple[float, float]:
    """Of an axis of accuracies: as the values are, with a margin; to 0, or to 1, where they come near it.

    Near is less than half of the range of the values below, and a third of it above, so that what the axis holds beside them
    never takes more room than they do. Values closer together than five points get five points.
    """
    found = np.concatenate([np.ravel(np.asarray(v, dtype=np.float64)) for v in values]) if values else np.empty(0)
    found = found[np.isfinite(found)]
    if not len(found):
        return 0.0, 1.02
    least, most = float(found.min()), float(found.max())
    extent = max(most - least, 0.05)
    margin = 0.1 * extent + (extent - (most - least)) / 2
    low, high = least - margin, most + margin
    if 0 <= least <= 0.5 * extent:
        low = 0.0
    elif least > 0:
        low = max(0.0, math.floor(100 * low) / 100)
    elif least > -0.1 * extent:  # the band of an accuracy near 0
        low = 1.1 * least
    if 1 - extent / 3 <= most <= 1:
        high = 1 + 0.02 * (1 - low)
    return low, high


def from_where(what: str, low: float, points: float = math.inf) -> str:
    """The label of an axis `points` long, which says where it starts unless that is 0."""
    if low <= 0:
        return what
    said = f"(axis from {low:.2f})"
    return f"{what}{' ' if width_of(f'{what} {said}') < points else chr(10)}{said}"


def value_axis(ax: Axes, low: float, high: float, most: int = 4) -> None:
    """Limits and few round ticks of a y axis of accuracies, none above 1."""
    ax.set_ylim(low, high)
    at = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, min(high, 1.0) if low < 1 else high)
    kept = [t for t in at if low - 1e-9 <= t <= min(high, 1.0) + 1e-9]
    ax.set_yticks(kept if len(kept) > 1 else [low, high])


def ticks(T: int) -> list[int]:
    """Round numbers of tasks."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, T) if T / s <= 10)
    return list(range(step, T + 1, step))


def chosen(T: int, most: int) -> tuple[list[int], str]:
    """The tasks that have a panel, from 0: all, or `most` of them evenly spaced; and a sentence that says so."""
    if most >= T:
        return list(range(T)), ""
    some = sorted({round(t) for t in np.linspace(0, T - 1, most)})
    return some, f"{len(some)} of {T} tasks have a panel: {', '.join(str(j + 1) for j in some)}."


# --- seeds --------------------------------------------------------------------------------------------------------------
def spread(
    ax: Axes, x: NDArray[Any], values: NDArray[np.float64], style: tuple[str, Any], **line: Any
) -> NDArray[np.float64]:
    """Draws the mean of `values` ``[seeds, len(x)]`` and what the seeds differ by: a band of the 95% interval, of fewer than
    four seeds each by itself. Returns all that was drawn, for the limits of the axis."""
    colour, dash = style
    mean = values.mean(axis=0)
    drawn = [mean]
    if len(values) >= FEW:
        half = np.nan_to_num([interval(column).half for column in values.T])
        ax.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, lw=0)
        drawn += [mean - half, mean + half]
    elif len(values) > 1:
        ax.plot(x, values.T, color=colour, ls=dash, lw=0.8, alpha=0.5)
        drawn += list(values)
    alone = np.isfinite(mean).sum() == 1  # a line of one point would not be seen
    style_of = {"lw": 1.9, "ms": 3.5, "clip_on": False, **line} | ({"marker": "o"} if alone else {})
    ax.plot(x, mean, color=colour, ls=dash, **style_of)
    return np.concatenate(drawn)


# --- direct labels ------------------------------------------------------------------------------------------------------
def name_ends(figure: Figure, ax: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = TEXT) -> None:
    """Writes each text at the right of the axes, at the height of its line's last point `(x, y, text, colour)`, moved apart where lines
    end close together."""
    if not ends:
        return
    right = ax.get_xlim()[1]
    notes = [
        ax.annotate(
            text,
            (x, y),
            (1.03, 0.5),
            textcoords="axes fraction",
            color=readable(colour),
            va="center",
            fontsize=size,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)},
        )
        for x, y, text, colour in ends
    ]
    _lay_out(figure)  # so that the axes have their height
    height = 72 * ax.get_window_extent().height / figure.dpi
    low, high = ax.get_ylim()
    places = _apart([(y - low) / (high - low) for _, y, _, _ in ends], 1.25 * size / height)
    for note, place, (x, _, _, _) in zip(notes, places, ends):
        note.set_position((1.03, place))
        if x < right and note.arrow_patch is not None:  # it ended before the others
            note.arrow_patch.set_linestyle(":")


def _lay_out(figure: Figure) -> None:
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """The values moved as little as need be to stand `gap` apart, in their order, within 0 and 1 if they fit there."""
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # of neighbours that touch: sum of (value - gap * place within), count
    for value in np.asarray(values, dtype=float)[order]:
        blocks.append([value, 1])
        while len(blocks) > 1 and _lower(blocks[-1], gap) < _lower(blocks[-2], gap) + gap * blocks[-2][1]:
            total, n = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + n]
    placed = np.concatenate([_lower(b, gap) + gap * np.arange(b[1]) for b in blocks]) if blocks else np.empty(0)
    if len(placed):
        least = np.arange(len(placed)) * gap  # shifted into the axes: upwards, then downwards
        placed = np.maximum(placed, least)
        placed = np.minimum(placed, max(1.0, least[-1]) - least[::-1])
    back = np.empty_like(placed)
    back[order] = placed
    return [float(v) for v in back]


def _lower(block: Sequence[float], gap: float) -> float:
    """Where the lowest of a block of touching labels stands, which leaves their mean where it was."""
    total, n = block
    return total / n - gap * (n - 1) / 2


def name_points(
    figure: Figure,
    ax: Axes,
    points: Sequence[tuple[float, float, str, str]],
    size: float = TEXT,
    lines: Sequence[tuple[ArrayLike, ArrayLike]] = (),
) -> None:
    """Writes each text beside its point `(x, y, text, colour)`, where neither another text, a point nor one of the `lines` (x, y) is;
    farther off, with a line to the point, where there is no room beside it."""
    _lay_out(figure)  # so that points have their places
    scale = 72 / figure.dpi

    def place(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        at: NDArray[np.float64] = scale * ax.transData.transform(np.stack([np.asarray(x), np.asarray(y)], -1))
        return at

    at = place([p[0] for p in points], [p[1] for p in points]) if points else np.empty((0, 2))
    field = [scale * v for v in ax.get_window_extent().extents]
    taken = [_box(p, 4) for p in at]
    for x, y in lines:
        known = place(x, y)
        known = known[np.isfinite(known).all(-1)]
        for a, b in pairwise(known):
            steps = max(2, int(np.hypot(*(b - a)) / 4))
            taken += [_box(p, 1.5) for p in a + (b - a) * np.linspace(0, 1, steps)[:, None]]
    for (x, y, text, colour), (px, py) in zip(points, at):
        w, h = width_of(text, size) + 2, 1.2 * size
        dx, dy = next(_free(px, py, w, h, field, taken), (7.0, -h / 2))
        taken.append((px + dx, py + dy, px + dx + w, py + dy + h))
        far = max(-(dx + w), dx, -(dy + h), dy) > 9
        note = ax.annotate(
            text,
            (x, y),
            (dx, dy + 0.22 * h),
            textcoords="offset points",
            fontsize=size,
            color=readable(colour),
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0, "shrinkB": 3} if far else None,
        )
        note.set_in_layout(False)


Box = tuple[float, float, float, float]


def _box(at: NDArray[np.float64], half: float) -> Box:
    return (float(at[0]) - half, float(at[1]) - half, float(at[0]) + half, float(at[1]) + half)


def _free(
    px: float, py: float, w: float, h: float, field: Sequence[float], taken: Sequence[Box]
) -> Iterator[tuple[float, float]]:
    """Offsets of the lower left corner of a text at which it is within the field and on nothing, the nearest first."""
    for r in (6.0, 14.0, 24.0, 36.0, 50.0, 70.0, 95.0, 125.0, 160.0):
        for dx, dy in _around(r, w, h):
            box = (px + dx, py + dy, px + dx + w, py + dy + h)
            inside = box[0] >= field[0] and box[1] >= field[1] and box[2] <= field[2] + 2 and box[3] <= field[3] + 3
            if inside and not any(_meet(box, other) for other in taken):
                yield dx, dy


def _around(r: float, w: float, h: float) -> Iterable[tuple[float, float]]:
    yield from ((r, -h / 2), (-r - w, -h / 2), (-w / 2, r), (-w / 2, -r - h))  # right, left, above, below
    yield from ((r, r - h / 2), (r, -r - h / 2), (-r - w, r - h / 2), (-r - w, -r - h / 2))


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
