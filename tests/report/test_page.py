"""The page of a run and that of several side by side: every part is there, and says what the numbers say."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.core.errors import RunError
from lifelong.measures.matrix import interval
from lifelong.report import as_text, compare, read, write
from lifelong.report.figures import efficiency
from lifelong.report.page import answer
from written_results import FREE, HELD, MATRICES, NAN, Page, lay_out


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
