"""Pictures of a report: every task and method stands in them, texts keep apart, axes follow the data, and few seeds are drawn as themselves."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from lifelong.curriculum import figures as curricula
from lifelong.curriculum.taxonomy import Taxonomy, Transfer
from lifelong.measures.matrix import Interval, RMatrix, interval
from lifelong.report import Results, merge
from lifelong.report import figures as F
from lifelong.report.look import chosen, colours, cut, labels, limits, luminance, readable, width_of
from lifelong.report.results import read
from lifelong.report.surfaces import surfaces
from lifelong.report.words import drawn, over, varies

NAN = float("nan")
METHODS = [
    "finetune",
    "joint",
    "joint_once",
    "independent",
    "l2",
    "ewc",
    "si",
    "mas",
    "rwalk",
    "replay",
    "der",
    "derpp",
    "gdumb",
    "gem",
]
LONG = "a_run_with_a_very_long_name_of_sixty_characters_in_it_"
CIFAR = (
    "apple/aquarium_fish/baby/bear/beaver",
    "bed/bee/beetle/bicycle/bottle",
    "bowl/boy/bridge/bus/butterfly",
    "camel/can/castle/caterpillar/cattle",
    "chair/chimpanzee/clock/cloud/cockroach",
)
SAME = "initial weights, order of examples and draws; the stream is the same"


def made(
    methods: Sequence[str],
    T: int,
    seeds: int,
    tasks: Sequence[str] = (),
    level: tuple[float, float] = (0.1, 0.9),
    free: Sequence[str] = (),
    unfinished: Sequence[str] = (),
    once: Sequence[str] = (),
    classes: bool = False,
    fall: float = 0.03,
) -> Results:
    """Results by rule: what is learnt reaches the second of `level` and falls towards the first, faster for later methods. The methods
    in `free` pass no examples and keep nothing; those that are `unfinished` stop half-way; those in `once` train at the end alone."""
    draws = np.random.default_rng(0)
    low, high = level
    cells, values = {}, dict[tuple[str, int, str], dict[int, float]]()
    for k, method in enumerate(methods):
        for seed in range(seeds):
            i, j = np.mgrid[: T + 1, 1 : T + 1]
            R = np.where(
                i >= j, low + (high - low) * (1 - fall * (k + 1)) ** np.maximum(i - j, 0), 0.0 if classes else low
            )
            R = R + 0.004 * draws.standard_normal(R.shape) * (R > 0)
            R[0] = NAN if classes else R[0]
            R[T // 2 + 1 :] = NAN if method in unfinished else R[T // 2 + 1 :]
            R[:-1] = NAN if method in once else R[:-1]
            cells[method, seed] = RMatrix(R.clip(0, 1))
            for metric, value in {
                "train_seconds": 1.0 + k + 0.1 * seed,
                "memory_bytes": 0.0 if method in free else 1000.0 * (k + 1),
                "parameters": 1000.0 * (1 + k),
                "examples_forward": 0.0 if method in free else 500.0 * (k + 1),
                "examples_backward": 0.0 if method in free else 400.0,
            }.items():
                values[method, seed, metric] = dict.fromkeys(range(1, T + 1), value)
            values[method, seed, "parameters"][0] = 1000.0
    return Results(
        "run",
        "permuted",
        "class" if classes else "domain",
        tuple(tasks) or tuple(f"task {j + 1}" for j in range(T)),
        {m: tuple(range(seeds)) for m in methods},
        cells,
        values,
        tuple((m, s) for m in unfinished for s in range(seeds)),
        SAME,
    )


DRAWINGS: dict[str, Callable[[Results], Figure]] = {
    "curves": F.curves,
    "kept": F.kept,
    "costs": F.costs,
    "compare": F.compare,
    "compute": lambda r: F.efficiency(r, "compute"),
    "memory": lambda r: F.efficiency(r, "memory"),
    "parameters": F.efficiency,
    "heat": lambda r: F.heat(r.mean(r.methods[0]), r.tasks),
}
CASES: dict[str, Callable[[], Results]] = {
    "one method, one task, one seed": lambda: made(["ewc"], 1, 1),
    "fourteen methods, ten long tasks, two seeds": lambda: made(METHODS, 10, 2, CIFAR * 2),
    "long names": lambda: made(
        [f"{LONG}{i}/{m}" for i in (1, 2) for m in ("finetune", "ewc", "joint")],
        3,
        5,
        ("x" * 60, "$$ y" * 15, "z"),
        (0.8, 0.9),
    ),
    "fifty tasks": lambda: made(METHODS[:2], 50, 4),
    "gaps": lambda: made(["finetune", "ewc", "gdumb", "si"], 5, 4, unfinished=["si"], once=["gdumb"]),
    "new classes": lambda: made(["finetune", "ewc", "slda"], 5, 3, free=["slda"], classes=True),
}


def texts(figure: Figure) -> list[Text]:
    """The texts of a figure that are really drawn: not those of ticks beyond an axis."""
    found: list[Text] = []
    draw = Text.draw

    def watch(self: Text, renderer: Any) -> Any:
        if self.get_visible() and self.get_text().strip():
            found.append(self)
        return draw(self, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", watch)
        FigureCanvasAgg(figure).draw()
    return found


def words(figure: Figure) -> str:
    return " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")


def held_apart(name: str, figure: Figure) -> None:
    """No text of the picture stands on another or leaves it; the box around a slanting one says nothing of it."""
    upright = [t for t in texts(figure) if t.get_rotation() % 90 == 0]
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in upright]
    for text, box in boxes:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < figure.bbox.width + 1 and box.y1 < figure.bbox.height + 1
        assert inside, (name, text)
    for (text, a), (other, b) in itertools.combinations(boxes, 2):
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
        assert apart, (name, text, other)


@pytest.mark.parametrize("case", CASES)
def test_no_text_stands_on_another_or_leaves_the_picture(case: str) -> None:
    results = CASES[case]()
    for name, draw in DRAWINGS.items():
        held_apart(name, draw(results))


def test_no_text_stands_on_another_in_pictures_of_orders_and_surfaces() -> None:
    draws = np.random.default_rng(0)
    places = {f"{i} {name}": Interval(0.001 * i, 0.01, 0.02, 30) for i, name in enumerate(CIFAR * 2)}
    measures = {"ACC": draws.normal(0.56, 0.02, 30), "BWT": draws.normal(-0.03, 0.01, 30), "FWT": np.full(30, NAN)}
    held_apart("effect", curricula.effect({k: v.tolist() for k, v in measures.items()}, places, {"learned": 0.57}))
    held_apart("maps", curricula.maps({"before: mean loss": draws.random((10, 10))}, list(places), list(places)))
    held_apart(
        "two maps",
        curricula.maps({"gain": draws.random((3, 3)), "quality": draws.random((3, 3))}, CIFAR[:3], CIFAR[:3]),
    )
    transfers = tuple(Transfer((CIFAR[i % 3],), name) for i, name in enumerate(places))
    held_apart(
        "graphs",
        curricula.graphs(
            {"budget 3": Taxonomy(transfers, CIFAR[:3], 4.2), "budget 5": Taxonomy(transfers, CIFAR[:3], 4.2)}
        ),
    )
    held_apart("surfaces", surfaces()[0])


# --- every task, every method ---------------------------------------------------------------------------------------------
def panels_of(figure: Figure) -> list[int]:
    """The tasks whose number begins a panel's title."""
    titles = [ax.get_title(loc="left") for ax in _axes(figure)]
    found = [re.match(r"(?:task )?(\d+)(?:  |$)", title) for title in titles]
    return [int(m[1]) for m in found if m is not None]


def _axes(figure: Any) -> list[Axes]:
    return (
        [*figure.axes, *(ax for part in figure.subfigs for ax in part.axes)] if not figure.axes else list(figure.axes)
    )


@pytest.mark.parametrize("T", [2, 8, 10, 24])
def test_every_task_has_a_panel(T: int) -> None:
    assert sorted(set(panels_of(F.curves(made(["ewc"], T, 1))))) == list(range(1, T + 1))


@pytest.mark.parametrize("T", [25, 60])
def test_a_picture_that_leaves_tasks_out_says_which_it_shows(T: int) -> None:
    figure = F.curves(made(["ewc"], T, 1))
    said = re.search(rf"24 of {T} tasks have a panel: ([\d, ]+)\.", words(figure))
    assert said is not None
    assert [int(j) for j in said[1].split(",")] == sorted(set(panels_of(figure)))
    assert chosen(24, 24)[1] == ""


def test_within_tasks_every_task_has_a_panel_and_methods_of_other_moments_are_named() -> None:
    results = made(["ewc", "si", "grow"], 10, 2, CIFAR * 2)
    task = np.repeat(np.arange(10), 3)
    x = np.arange(1, 31)
    found = {m: np.where(np.arange(10) <= task[:, None], 0.8, NAN)[None].repeat(2, 0) for m in ("ewc", "si")}
    figure = F.within(results, x, task, found)
    assert panels_of(figure) == list(range(1, 11))
    assert "grow: measured at other moments" in words(figure)


@pytest.mark.parametrize("against", ["compute", "memory"])
def test_a_method_that_takes_nothing_stands_at_nothing(against: str) -> None:
    """slda passes no examples through a network: a logarithmic axis dropped it without a word."""
    figure = F.efficiency(made(["finetune", "slda", "ewc"], 4, 2, free=["slda"]), against)
    [ax] = figure.axes
    at = {note.get_text(): note.xy for note in ax.texts if hasattr(note, "xy")}
    assert set(at) == {"finetune", "slda", "ewc"}
    assert at["slda"][0] == 0
    low, high = ax.get_xlim()
    assert all(low < x < high for x, _ in at.values())


def test_a_method_that_cannot_be_placed_is_named() -> None:
    results = made(["finetune", "ewc", "si", "l2"], 4, 1, unfinished=["si"])
    values = {k: v for k, v in results.values.items() if k[0] != "l2"}
    figure = F.efficiency(Results("r", "s", "d", results.tasks, results.seeds, results.cells, values), "compute")
    assert "Not shown, of unknown cost or accuracy: si, l2." in words(figure)
    assert re.search(r"si 0\.\d\d after 2", words(F.curves(results)))
    nothing = made(["ewc", "si"], 4, 1)
    cells = {**nothing.cells, ("si", 0): RMatrix(np.full((5, 4), NAN))}
    figure = F.curves(Results("r", "s", "d", nothing.tasks, nothing.seeds, cells, {}))
    assert "Nothing is measured yet of si." in words(figure)


@pytest.mark.parametrize("name", ["curves", "kept", "costs", "compare", "compute"])
def test_every_method_is_named(name: str) -> None:
    results = made(METHODS, 4, 2)
    found = [t.get_text() for t in texts(DRAWINGS[name](results))]
    for method in METHODS:
        assert any(text.split(" ")[0] == method for text in found), method


def test_a_measure_that_nobody_has_gets_no_panel_and_is_named() -> None:
    figure = F.compare(made(["finetune", "ewc"], 3, 2, classes=True))
    assert len(figure.axes) == 4  # ACC and BWT, and their differences
    assert "Undefined for all methods: FWT." in words(figure)
    assert "Undefined for all methods: BWT, FWT." in words(F.compare(made(["ewc"], 1, 1)))


# --- seeds ----------------------------------------------------------------------------------------------------------------
def bands(ax: Axes) -> list[PolyCollection]:
    return [c for c in ax.collections if isinstance(c, PolyCollection)]


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 6])
def test_below_four_seeds_the_seeds_are_drawn_and_no_band(seeds: int) -> None:
    results = made(["ewc"], 3, seeds)
    figure = F.curves(results)
    ax = _axes(figure)[-1]  # the mean over the tasks so far
    stack = results.stack("ewc")
    seen = np.stack([stack[:, i, :i].mean(axis=1) for i in (1, 2, 3)], axis=1)
    lines = [np.asarray(line.get_ydata()) for line in ax.get_lines() if len(np.asarray(line.get_xdata())) == 3]
    assert any(np.allclose(line, seen.mean(0)) for line in lines)
    if seeds >= 4:
        [band] = bands(ax)
        half = np.array([interval(column).half for column in seen.T])
        [path] = band.get_paths()
        heights = path.vertices[:, 1]
        for edge in (seen.mean(0) - half, seen.mean(0) + half):  # whole, and not cut off at 0 and 1
            assert all(np.isclose(heights, value).any() for value in edge)
    else:
        assert not bands(ax)
        for values in seen if seeds > 1 else []:
            assert any(np.allclose(line, values) for line in lines)


def test_bands_are_within_the_axis() -> None:
    results = made(["ewc"], 3, 4, level=(0.1, 0.999))
    for ax in _axes(F.curves(results)):
        low, high = ax.get_ylim()
        for band in bands(ax):
            heights = band.get_paths()[0].vertices[:, 1]
            assert low <= heights.min()
            assert heights.max() <= high


@pytest.mark.parametrize("seeds", [2, 3])
def test_an_interval_of_two_seeds_does_not_set_the_axis(seeds: int) -> None:
    """12.7 standard errors: the axis of what was compared began below 0."""
    results = made(["finetune", "ewc"], 3, seeds)
    for ax in F.compare(results).axes:
        of_ticks = [line for line in ax.get_lines() if line.get_linestyle() == "-" and len(set(line.get_xdata())) == 2]
        assert not of_ticks
    acc = F.compare(results).axes[0].get_xlim()
    every = [v for m in results.methods for v in results.summary(m, "acc")]
    assert acc[0] > min(every) - 0.1
    assert acc[1] < max(every) + 0.1


def test_what_shows_the_seeds_is_said() -> None:
    assert drawn([5, 5], "Bands", "Thin lines") == "Bands: 95% intervals over the seeds."
    assert drawn([2, 2], "Bands", "Thin lines") == "Thin lines: the 2 seeds, too few for an interval."
    assert drawn([5, 3, 2], "Bands", "Thin lines").endswith("Thin lines: the 2 to 3 seeds, too few for an interval.")
    assert drawn([1], "Bands", "Thin lines") == ""
    assert "Bands: 95% intervals" in words(F.curves(made(["ewc"], 3, 5)))
    assert "the 2 seeds, too few" in words(F.curves(made(["ewc"], 3, 2)))


# --- axes -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.05, 0.95], (0, 1)),
        ([0.1, 0.6], (0, 0.65)),
        ([0.82, 0.87], (0.81, 0.875)),
        ([0.82, 0.97], (0.80, 1)),
        ([0.88], (0.85, 0.91)),
        ([0.0], (0, 0.05)),
        ([NAN], (0, 1)),
    ],
)
def test_an_axis_goes_as_far_as_its_values(values: Sequence[float], expected: tuple[float, float]) -> None:
    found = limits(values)
    assert found == pytest.approx(expected, abs=0.025)
    finite = [v for v in values if v == v]
    assert all(found[0] <= v <= found[1] for v in finite)


def test_five_points_are_seen_and_the_axis_says_where_it_starts() -> None:
    results = made(["finetune", "ewc"], 3, 1, level=(0.80, 0.85))
    for name in ("curves", "kept"):
        figure = DRAWINGS[name](results)
        drawn_in = [ax for ax in _axes(figure) if ax.get_lines()]
        shares = {ax.get_ylim() for ax in (drawn_in[:3] if name == "curves" else drawn_in)}
        assert len(shares) == 1  # panels that are compared have the same limits
        [(low, high)] = shares
        assert high - low < 0.12
        assert f"(axis from {low:.2f})" in words(figure)
    wide = words(F.kept(made(["finetune", "ewc"], 3, 1, fall=0.45)))
    assert "axis from" not in wide
    assert "accuracy" in wide


def test_what_came_before_a_task_is_dotted_where_the_axis_holds_it_and_said_where_not() -> None:
    near, far = (made(["ewc"], 3, 1, fall=fall) for fall in (0.8, 0.03))
    for figure, dotted in ((F.curves(near), True), (F.curves(far), False)):
        lines = [line for ax in _axes(figure) for line in ax.get_lines()]
        assert any(line.get_linestyle() == ":" for line in lines) == dotted
        assert ("Dotted: before the task was learnt." in words(figure)) == dotted
        assert ("before it was learnt lies below the axis" in words(figure)) != dotted


def test_maps_on_a_page_have_the_same_colours() -> None:
    figure = F.heat(RMatrix(np.array([[0.5], [0.8]])), ["a"], (0.4, 0.9))
    [image] = figure.axes[0].get_images()
    assert image.get_clim() == (0.4, 0.9)


# --- names ----------------------------------------------------------------------------------------------------------------
def test_names_that_are_cut_stay_different() -> None:
    names = [f"{LONG}{i}/ewc" for i in range(20)]
    shown = labels(names, 90.0)
    assert len(set(shown)) == len(names)
    assert all(width_of(text) <= 90.0 for text in shown)
    assert cut("short", 90.0) == "short"
    assert cut("price in $", 200.0) == r"price in \$"


def test_references_keep_their_look_under_the_name_of_a_run() -> None:
    style = colours(["a/joint", "b/joint", "a/finetune", "b/finetune", "a/ewc", "b/ewc", "joint (peeking)"])
    assert style["a/joint"][0] == style["b/joint"][0] == style["joint (peeking)"][0] == F.INK
    assert style["a/finetune"][0] == F.SOFT
    assert len(set(style.values())) == 7


def test_words_stand_out_from_light_and_dark() -> None:
    for method, (colour, _) in colours([f"m{i}" for i in range(8)]).items():
        shade = luminance(readable(colour))
        assert shade <= 0.21, method  # 4 to 1 from white
        assert (shade + 0.05) / (luminance("#16181b") + 0.05) > 2.5, method


# --- what varies ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("notes", "config", "by_fit", "said"),
    [
        ({}, {"stream": "permuted", "stream.seed": 0}, False, SAME),
        ({"stream_seed": 0, "seed": 0}, {"stream": "permuted"}, False, SAME),
        (
            {"stream_seed": "each"},
            {"stream.seed": "each"},
            False,
            "initial weights, order of examples and draws, and the stream itself",
        ),
        (
            {"seed": 0},
            {"stream": "permuted"},
            False,
            "initial weights, order of examples and draws, and the stream itself",
        ),
        ({}, {"stream": "folder"}, False, SAME),
        ({"seed": 3}, None, True, "unless the network was given ready made; the stream is the same"),
        ({"stream_seed": "each"}, None, True, "unless the network was given ready made, and the stream itself"),
        ({}, None, False, "not recorded"),
    ],
)
def test_what_varies_between_seeds(
    notes: dict[str, Any], config: Mapping[str, Any] | None, by_fit: bool, said: str
) -> None:
    assert varies(notes, config, by_fit).endswith(said) or said in varies(notes, config, by_fit)


def test_a_caption_says_over_what() -> None:
    assert over([5, 5], SAME) == f"Mean ± 95% interval over 5 seeds ({SAME})."
    assert over([2, 5], SAME, "Means") == f"Means over 2 to 5 seeds ({SAME})."
    assert over([1, 1], SAME) == "One seed, so no interval."


def test_runs_with_other_seeds_of_the_stream_say_so_each(tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "each")):
        place = tmp_path / name
        place.mkdir()
        rows = [f"x,domain,{name},{s},{t},1,accuracy,0.5,10,0.1" for s in (0, 1) for t in (0, 1)]
        (place / "results.csv").write_text(
            "\n".join(["stream,scenario,method,seed,after,on,metric,value,n,seconds", *rows])
        )
        (place / "config.yaml").write_text(f"stream:\n  name: permuted\n  seed: {seed}\n")
        (place / "summary.json").write_text(json.dumps({"tasks": ["t"], "notes": {"stream_seed": seed}}))
    a, b = (read(tmp_path / name) for name in "ab")
    assert a.varies == SAME
    assert b.varies.endswith("and the stream itself")
    assert merge([a, b]).varies == f"in a: {a.varies}; in b: {b.varies}"
    assert merge([a, a]).varies == a.varies
