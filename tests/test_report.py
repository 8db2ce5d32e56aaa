"""A run directory written by hand, with matrices whose measures are known, read back as numbers, pictures and pages."""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifelong.errors import RunError
from lifelong.matrix import RMatrix, interval
from lifelong.report import Results, as_text, compare, merge, read, write
from lifelong.report.figures import efficiency
from lifelong.report.page import answer
from lifelong.report.results import HEADER
from lifelong.report.table import amount

NAN = float("nan")
# Rows: untrained, after task 1, 2, 3.
FREE = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.5, 0.8, 0.3], [0.3, 0.5, 0.9]])
HELD = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.8, 0.8, 0.3], [0.8, 0.7, 0.8]])
JOINT = np.array([[0.1, 0.1, 0.2], [0.9, 0.2, 0.2], [0.9, 0.9, 0.3], [0.9, 0.9, 0.9]])
MATRICES = {
    "finetune": {0: FREE, 1: FREE - 0.02, 2: FREE + 0.02},
    "ewc": {0: HELD, 1: HELD + 0.01, 2: HELD + 0.03},
    "joint": {0: JOINT, 1: JOINT, 2: JOINT},
}


def lay_out(
    directory: Path,
    matrices: Mapping[str, Mapping[int, np.ndarray]] = MATRICES,
    tasks: tuple[str, ...] = ("zero", "one", "two"),
    stream: str = "digits",
    scenario: str = "domain",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    lead: tuple[Any, ...]
    rows: list[list[Any]] = []
    for method, of_seed in matrices.items():
        for seed, R in of_seed.items():
            T = R.shape[1]
            lead = (stream, scenario, method, seed)
            for (after, j), value in np.ndenumerate(R):
                rows.append([*lead, after, j + 1, "accuracy", value, 100, 0.01])
            for t in range(1, T + 1):
                rows.append([*lead, t, "", "train_seconds", 2.0 + seed, "", ""])
                rows.append([*lead, t, "", "memory_bytes", 1500 * t, "", ""])
            rows.append([*lead, T, "", "parameters", 1234, "", ""])
    with (directory / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER.split(","), *rows])
    (directory / "summary.json").write_text(json.dumps({"schema": 1, "tasks": tasks}))
    manifest = {
        "versions": {"torch": "9.9.9"},
        "machine": {"cores": 2},
        "seeds": [0, 1, 2],
        "source": "https://example.org/digits <raw>",
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "config.yaml").write_text("ewc.strength: 10 # <b>strong</b>\n")
    return directory


class Page(HTMLParser):
    """What a page holds: its tags with attributes, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u202f", "").split())

    def ids(self) -> set[str | None]:
        return {a["id"] for _, a in self.tags if "id" in a}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("runs") / "first")


# --- numbers ------------------------------------------------------------------------------------------------------------
def test_the_file_becomes_matrices_and_measures(run: Path) -> None:
    results = read(run)
    assert (results.name, results.stream, results.scenario, results.T) == ("first", "digits", "domain", 3)
    assert results.tasks == ("zero", "one", "two")
    assert results.methods == ("finetune", "ewc", "joint")
    assert results.seeds["ewc"] == (0, 1, 2)
    np.testing.assert_allclose(results.matrix("ewc", 1).R, HELD + 0.01)
    np.testing.assert_allclose(results.mean("ewc").R, HELD + 0.04 / 3)
    acc = (0.3 + 0.5 + 0.9) / 3
    assert results.summary("finetune", "acc") == pytest.approx([acc, acc - 0.02, acc + 0.02])
    assert results.interval("finetune", "acc") == pytest.approx(interval([acc, acc - 0.02, acc + 0.02]))
    assert results.interval("finetune", "bwt").mean == pytest.approx((0.3 - 0.9 + 0.5 - 0.8) / 2)
    assert results.summary("finetune", "intransigence")[0] == pytest.approx((0 + 0.1 + 0) / 3)
    assert results.summary("ewc", "train_seconds") == [6.0, 9.0, 12.0]  # of all tasks
    assert results.summary("ewc", "memory_bytes") == [4500.0] * 3  # at the end
    assert np.isnan(results.summary("ewc", "eval_seconds")).all()


def test_a_stored_measure_is_taken_as_it_stands(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run", {"ewc": {0: HELD}})
    with (run / "results.csv").open("a") as file:
        file.write("digits,domain,ewc,0,3,,acc,0.25,,\n")
    assert read(run).summary("ewc", "acc") == [0.25]


def test_differences_are_paired_on_common_seeds(tmp_path: Path) -> None:
    shifted = {seed: R + seed / 50 for seed, R in MATRICES["finetune"].items() if seed}  # not seed 0
    results = read(lay_out(tmp_path / "run", {**MATRICES, "si": shifted}))
    assert results.difference("si", "finetune", "acc") == pytest.approx(interval([1 / 50, 2 / 50]))
    lone = read(lay_out(tmp_path / "lone", {"finetune": {0: FREE}, "si": {7: FREE}}))
    assert lone.difference("si", "finetune", "acc").n == 0


def test_what_is_undefined_stays_so(tmp_path: Path) -> None:
    R = FREE.copy()
    R[0, 1] = NAN
    run = lay_out(tmp_path / "run", {"ewc": {0: R}}, tasks=("a", "b", "c"))
    results = read(run)
    assert np.isnan(results.summary("ewc", "fwt")).all()
    assert not np.isnan(results.summary("ewc", "acc")).any()
    row = as_text(results).splitlines()[3]
    assert row.split() == ["ewc", "0.567", "-0.450", "undefined", "+0.450", "undefined", "0.867", "0.567", "1"]
    assert '<td class="undefined">undefined</td>' in write(run).read_text()


def test_an_unfinished_seed_is_left_out_and_said(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run")
    lines = (run / "results.csv").read_text().splitlines()
    (run / "results.csv").write_text("\n".join(x for x in lines if not re.match(r"digits,domain,ewc,2,3,", x)))
    results = read(run)
    assert results.seeds["ewc"] == (0, 1)
    assert results.unfinished == (("ewc", 2),)
    assert results.interval("ewc", "acc").n == 2
    assert "unfinished: ewc (seed 2)" in Page(write(run)).text


def test_the_terminal_table_is_aligned(run: Path) -> None:
    text = as_text(read(run), paired=True)
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert [len(block) for block in blocks] == [2, 4, 1, 3]
    for block in blocks[1::2]:
        assert len({len(line) for line in block}) == 1
    assert "0.567±0.050" in blocks[1][1]
    assert blocks[0][1] == "(initial weights, order of examples and draws; the stream is the same)"


@pytest.mark.parametrize(
    ("value", "metric", "said"),
    [
        (0.0123, "train_seconds", "12.3 ms"),
        (59.9, "train_seconds", "59.9 s"),
        (5400, "train_seconds", "1.5 h"),
        (0, "memory_bytes", "0 B"),
        (2_345_678, "memory_bytes", "2.35 MB"),
        (123_456, "parameters", "123 k"),
        (NAN, "parameters", "undefined"),
    ],
)
def test_costs_have_readable_units(value: float, metric: str, said: str) -> None:
    assert amount(value, metric) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("stream,", "flow,", "expected the header"),
        ("digits,domain,ewc,0,1,1,accuracy,0.9", "digits,domain,ewc,0,1,1,accuracy,90", "0..1 or nan, got 90"),
        ("digits,domain,ewc,0,1,1,accuracy,0.9", "digits,domain,ewc,0,1,1,accuracy,much", "expected numbers"),
        ("digits,domain,ewc,0,1,1,accuracy", "other,domain,ewc,0,1,1,accuracy", "got 'other'"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,1,2,accuracy", "stands twice"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,1,1", "10 fields, got 9"),
        ("digits,domain,ewc,0,1,1,accuracy", "digits,domain,ewc,0,9,1,accuracy", "holds 9 tasks"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = lay_out(tmp_path / "run") / "results.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match=re.escape(said)) as caught:
        read(path.parent)
    assert "results.csv" in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="is not there"):
        read(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no run directory"):
        write(tmp_path)
    (tmp_path / "results.csv").write_text(HEADER + "\n")
    with pytest.raises(RunError, match="no rows"):
        read(tmp_path)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(RunError, match="an empty file"):
        read(tmp_path)
    with pytest.raises(RunError, match="did you mean 'ewc'"):
        read(run).mean("ewcc")
    with pytest.raises(RunError, match="not run with seed 9"):
        read(run).matrix("ewc", 9)


# --- the page -----------------------------------------------------------------------------------------------------------
def test_the_page_holds_every_part_and_opens_offline(run: Path) -> None:
    page = Page(write(run))
    assert page.ids() >= {"methods", "matrix", "curves", "kept", "costs", "config", "manifest", "main"}
    assert page.raw.startswith("<!doctype html>")
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 3 + 3  # a matrix a method; curves, kept, costs
    for tag, attributes in page.tags:
        for key in ("src", "href", "srcset", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:image/", "#")), (tag, key, value[:40])
    assert "@import" not in page.raw
    assert "url(" not in page.raw
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.tags)
    assert all(a["alt"] and len(str(a["alt"])) > 20 for a in pictures)
    for _, a in page.tags:  # every anchor has its place
        if (a.get("href") or "").startswith("#"):
            assert str(a["href"])[1:] in page.ids()
    for word in ("ACC", "BWT", "FWT", "forgetting", "intransigence", "learning accuracy", "worst case", "n"):
        assert word in page.words
    assert "0.567±0.050" in page.text
    assert "9.9.9" in page.text
    assert "0, 1, 2" in page.text
    assert "https://example.org/digits <raw>" in page.text  # as words, not as a link
    assert "ewc.strength: 10 # <b>strong</b>" in page.text
    assert "<b>strong" not in page.raw


def test_the_answer_is_made_of_the_numbers(run: Path, tmp_path: Path) -> None:
    gap = np.mean(HELD[-1]) - np.mean(FREE[-1]) + 0.04 / 3

    def said(directory: Path) -> str:
        return answer(read(directory)).replace("\u202f", "")

    text = said(run)
    assert (
        "After 3 tasks, ewc has the highest mean accuracy of 2 methods, 0.780±0.038; finetune has 0.567±0.050" in text
    )
    assert f", a difference of {gap:.3f}±0.038 on the same 3 seeds." in text
    assert text.endswith("Joint training (joint), the upper bound, reaches 0.900±0.000.")
    near = {"finetune": MATRICES["finetune"], "si": {0: FREE + 0.03, 1: FREE - 0.03, 2: FREE + 0.03}}
    assert "on the same 3 seeds, which does not tell them apart" in said(lay_out(tmp_path / "near", near))
    alone = {"finetune": {0: FREE}}
    forgot = "finetune has a mean accuracy of 0.567 and a forgetting of 0.450"
    assert forgot in said(lay_out(tmp_path / "alone", alone))
    half = {"ewc": {0: np.vstack([HELD[:2], np.full((2, 3), NAN)])}}
    assert "No method has been measured on all 3 tasks yet." in said(lay_out(tmp_path / "half", half))


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script> & $x_1$"
    run = lay_out(tmp_path / "run", {evil: {0: HELD}}, tasks=(evil, '"quoted"', "$$ {{ 7 * 7 }}"), stream=evil)
    page = Page(write(run))
    assert "script" not in {tag for tag, _ in page.tags}
    assert html.escape("<script>") in page.raw
    assert evil in page.text
    assert "49" not in page.text


def test_the_story_comes_first_with_its_pictures(run: Path, tmp_path: Path) -> None:
    story = {
        "title": "Does it forget?",
        "paragraphs": [
            {"text": "It learns <two> things.", "figure": "curves"},
            {"text": "All of it.", "figure": "heat"},
            {"text": "By hand.", "figure": "figures/drawn.png"},
        ],
    }
    directory = lay_out(tmp_path / "run", {"finetune": {0: FREE}, "ewc": {0: HELD}})
    (directory / "figures").mkdir()
    for name in ("drawn", "more"):
        (directory / "figures" / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
    (directory / "story.json").write_text(json.dumps(story))
    page = Page(write(directory))
    assert "Does it forget?" in page.words
    assert page.raw.index("It learns &lt;two&gt; things.") < page.raw.index('id="methods"')
    told = page.raw[page.raw.index('id="story"') : page.raw.index('id="methods"')]
    assert told.count("<img") == 1 + 2 + 1
    assert page.text.count("Further pictures") == 2  # in the list of sections and as a heading: more.png
    for figure, said in (("crves", "did you mean 'curves'"), ("../../secret.png", "expected the name of")):
        (directory / "story.json").write_text(json.dumps({"paragraphs": [{"text": "x", "figure": figure}]}))
        with pytest.raises(RunError, match=said):
            write(directory)
    for damaged in ("{", "[]", '{"paragraphs": ["x"]}'):
        (directory / "story.json").write_text(damaged)
        with pytest.raises(RunError, match=r"story\.json"):
            write(directory)


@pytest.mark.parametrize(
    ("figure", "maps", "sections"), [("heat", 2, set()), ("heat:ewc", 2, {"matrix"}), ("curves", 2, {"matrix"})]
)
def test_what_the_story_shows_stands_there_once(tmp_path: Path, figure: str, maps: int, sections: set[str]) -> None:
    """R stood in the story and again in the section below."""
    run = lay_out(tmp_path / "run", {"finetune": {0: FREE}, "ewc": {0: HELD}})
    (run / "story.json").write_text(json.dumps({"paragraphs": [{"text": "x", "figure": figure}]}))
    page = Page(write(run))
    pictures = [str(a["alt"]) for tag, a in page.tags if tag == "img"]
    assert len([alt for alt in pictures if alt.startswith("Heat map of R")]) == maps
    assert len([alt for alt in pictures if alt.startswith("Accuracy over the stream")]) == 1
    assert page.ids() & {"matrix"} == sections
    assert ("curves" in page.ids()) == (figure != "curves")
    for _, a in page.tags:  # no anchor of a section that went
        if (a.get("href") or "").startswith("#"):
            assert str(a["href"])[1:] in page.ids()


def test_every_table_and_picture_says_over_what_its_intervals_are(run: Path, tmp_path: Path) -> None:
    said = "over 3 seeds (initial weights, order of examples and draws; the stream is the same)."
    page = Page(write(run))
    assert f"Mean ± 95% interval {said}".replace(" ± ", "±") in page.text.replace(" ± ", "±")
    captions = [c for c in re.findall(r"<figcaption>(.*?)</figcaption>", page.raw) if c not in MATRICES]
    assert len(captions) == 3  # curves, kept, costs
    assert all(said in caption for caption in captions)
    assert "3 seeds a method (initial weights, order of examples and draws; the stream is the same)" in page.text
    alone = Page(write(lay_out(tmp_path / "one", {"ewc": {0: HELD}})))
    assert "One seed, so no interval." in alone.text
    assert "95%" not in alone.text


def test_what_a_run_warned_of_stands_in_its_page(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run", {"ewc": {0: HELD}})
    (run / "summary.json").write_text(json.dumps({"tasks": ["a", "b", "c"], "warnings": ["the buffer <stayed> empty"]}))
    page = Page(write(run))
    assert "the buffer <stayed> empty" in page.text
    assert "warnings" in page.ids()


def test_surfaces_are_drawn_where_they_are_asked_for(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run", {"ewc": {0: HELD}})
    (run / "figures").mkdir()
    (run / "figures" / "surfaces.png").write_bytes(b"")
    page = Page(write(run))
    assert "surfaces" in page.ids()
    assert "EWC keeps task 1" in page.text


@pytest.mark.parametrize("T", [1, 2, 20])
def test_streams_of_any_length_are_drawn(tmp_path: Path, T: int) -> None:
    R = np.full((T + 1, T), NAN)
    for i in range(1, T + 1):
        R[i, :i] = np.linspace(0.4, 0.9, i)
    run = lay_out(tmp_path / "run", {"ewc": {0: R}}, tasks=tuple(f"a long name of a task {i}" for i in range(T)))
    assert write(run).stat().st_size > 10_000


def test_a_page_is_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    run = lay_out(tmp_path / "run", {"ewc": {0: HELD[:2, :1]}}, tasks=("zero",))
    assert write(run).read_bytes() == write(run).read_bytes()


# --- side by side -------------------------------------------------------------------------------------------------------
def test_runs_side_by_side(tmp_path: Path, run: Path) -> None:
    better = {seed: R + 0.01 * (seed + 1) for seed, R in MATRICES["ewc"].items() if seed < 2}
    other = lay_out(tmp_path / "second", {"ewc": better, "si": {5: HELD}})
    text = compare([run, other], tmp_path / "out")
    assert "first/ewc" in text
    assert "second/ewc" in text
    assert "\nsi " in text
    with (tmp_path / "out" / "compare.csv").open() as file:
        table = {(row["method"], row["metric"]): row for row in csv.DictReader(file)}
    row = table["second/ewc", "acc"]
    gaps = [np.mean(HELD[-1] - FREE[-1]) + d for d in (0.01, 0.05)]  # seed 1: +0.01 +0.02 −(−0.02)
    expected = interval(gaps)
    found = [float(row[f"difference_{k}"]) for k in ("mean", "sd", "ci95", "n")]
    assert found == pytest.approx(list(expected))
    assert row["against"] == "finetune"
    assert table["si", "acc"]["difference_n"] == "0"
    assert float(table["second/ewc", "intransigence"]["mean"]) < 0.1  # against the first run's joint
    page = Page(tmp_path / "out" / "compare.html")
    assert page.ids() >= {"methods", "compare", "curves", "kept", "costs"}
    for name in ("compare", "curves", "kept", "costs", "compute", "memory"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert compare([run]) == as_text(read(run), paired=True)


def test_runs_that_cannot_be_compared_say_what_differs(tmp_path: Path, run: Path) -> None:
    short = {"si": {0: HELD[:3, :2]}}
    cases: dict[str, dict[str, Any]] = {
        "stream": {"stream": "other"},
        "scenario": {"scenario": "class"},
        "number of tasks": {"matrices": short, "tasks": ("zero", "one")},
        "tasks": {"tasks": ("zero", "one", "three")},
    }
    for what, changed in cases.items():
        other = lay_out(tmp_path / what.replace(" ", "-"), **changed)
        with pytest.raises(RunError, match=f"expected the same {what}, got"):
            compare([run, other])
    with pytest.raises(RunError, match="got none"):
        compare([])


def test_directories_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = (lay_out(tmp_path / where / "run", {"ewc": {0: HELD}}) for where in ("a", "b"))
    assert merge([read(a), read(b)]).methods == ("run#1/ewc", "run#2/ewc")


# --- pictures -----------------------------------------------------------------------------------------------------------
def test_two_weights_show_what_the_guards_do() -> None:
    from lifelong.report.surfaces import caption, surfaces

    numbers = surfaces()[1]
    task_1 = {name: numbers[f"{name}/loss_1"] for name in ("start", "no constraint", "L2", "EWC")}
    task_2 = {name: numbers[f"{name}/loss_2"] for name in ("start", "no constraint", "L2", "EWC")}
    assert task_1["no constraint"] > 3 * task_1["start"]  # forgets
    assert task_1["EWC"] < 1.1 * task_1["start"]
    assert task_1["EWC"] <= task_1["L2"]  # L2 keeps task 1 no better, and yet
    assert task_2["L2"] > 3 * task_2["EWC"]  # does not learn task 2
    assert task_2["EWC"] < 1.2 * task_2["no constraint"]
    assert numbers["EWC/b_1"] > 10 * numbers["EWC/b_2"]
    assert numbers["L2/b_1"] == numbers["L2/b_2"]
    said = caption(numbers)
    for claim in (
        "No constraint forgets task 1 (1.27) but learns task 2 (0.31).",
        "L2 keeps task 1 (0.41) but does not learn task 2 (1.19).",
        "EWC keeps task 1 (0.40) and learns task 2 (0.34).",
    ):
        assert claim in said


def test_the_surfaces_are_those_of_a_model_with_two_weights() -> None:
    from lifelong.report.surfaces import paths, tasks

    first, second = tasks()
    before = torch.random.get_rng_state()
    again = tasks()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.x, again[0].x)
    start, ways = paths(first, second)
    assert float(first.gradient(start).norm()) < 1e-3  # an optimum
    w = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(second.gradient(w.detach()), torch.autograd.grad(second.loss(w), w)[0])
    # The Fisher as its definition has it: the expected squared score, label by label.
    p = (first.x @ start).sigmoid()[:, None]
    scores = {y: ((y - p) * first.x) ** 2 for y in (0, 1)}
    torch.testing.assert_close(first.fisher(start), (p * scores[1] + (1 - p) * scores[0]).mean(0))
    for way in ways[1:]:  # the guarded paths have settled
        end = way.w[-1]
        assert float((second.gradient(end) + 2 * way.b * (end - start)).norm()) < 1e-5


def test_a_method_keeps_its_colour(run: Path) -> None:
    from lifelong.report.figures import colours

    style = colours([*(f"m{i}" for i in range(16)), "finetune", "joint", "joint_once"])
    assert len(set(style.values())) == len(style)
    assert colours(["ewc", "si"])["ewc"] == colours(["finetune", "ewc", "joint"])["ewc"]


def test_svg_follows_light_and_dark(run: Path) -> None:
    from lifelong.report import figures

    text = figures.svg(figures.heat(RMatrix(FREE), ["a", "b", "c"]))
    assert "prefers-color-scheme:dark" in text
    assert "var(--c0)" in text
    assert text.count(figures.INK) == 1  # only where the variable is set


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = (
        "import sys, lifelong.report; from lifelong.report import Results, as_text;"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_leaves_the_settings_alone(run: Path) -> None:
    import matplotlib

    from lifelong.report import figures

    before = dict(matplotlib.rcParams)
    figures.svg(figures.costs(read(run)))
    assert dict(matplotlib.rcParams) == before


def test_results_can_be_made_by_hand() -> None:
    results = Results("x", "s", "task", ("a",), {"m": (0,)}, {("m", 0): RMatrix(np.array([[0.5], [1.0]]))}, {})
    assert results.T == 1
    assert results.summary("m", "acc") == [1.0]


def test_accuracy_for_parameters(tmp_path: Path, run: Path) -> None:
    """What grew is said, in multiples of the network that the run began with; what did not is no news."""
    assert read(run).sizes == {}
    folder = lay_out(tmp_path / "grown")
    text = (folder / "results.csv").read_text()
    for method, counts in {"finetune": (100, 100, 100), "ewc": (100, 150, 250), "joint": (100, 100, 100)}.items():
        for seed in (0, 1, 2):
            text = text.replace(
                f"digits,domain,{method},{seed},3,,parameters,1234",
                f"digits,domain,{method},{seed},3,,parameters,{counts[2]}",
            )
            text += f"digits,domain,{method},{seed},0,,parameters,100,,\n"
            text += "".join(f"digits,domain,{method},{seed},{t},,parameters,{counts[t - 1]},,\n" for t in (1, 2))
    (folder / "results.csv").write_text(text)
    results = read(folder)
    assert results.sizes == {"finetune": 1.0, "ewc": 2.5, "joint": 1.0}
    assert "parameters at the end, of those of one network: finetune 1.00, ewc 2.50, joint 1.00" in as_text(results)
    figure = efficiency(results)
    [ax] = figure.axes
    ways = [line for line in ax.get_lines() if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"]
    assert ways[1].get_xdata().tolist() == [1.0, 1.5, 2.5]
    page = write(folder)
    assert "Accuracy for parameters" in Page(page).text
