"""The demo: what it claims is decided by the numbers, and it can be left and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.cli import main
from lifelong.demo import demo as module
from lifelong.demo.claims import Chosen, Claim, Part, claims, story
from lifelong.demo.demo import CHOSEN, CORPORA, MIXED, PERMUTED, SCRIPT, SEEDS, SLOTS, demo, parts
from lifelong.measures.matrix import interval
from lifelong.report.results import read
from lifelong.runs.spec import RunSpec

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
IDS = ["forgets", "capacity", "ewc_keeps", "l2_stubborn", "replay_keeps"]


def matrices(T: int, *rows: list[float], seeds: int = 5, noise: float = 0.01) -> np.ndarray:
    """R of some seeds `[seeds, T+1, T]`: below the untrained row the given ones, in percent."""
    mean = np.array([[10.0] * T, *rows]) / 100
    return np.asarray(mean + noise * np.random.default_rng(int(mean.sum() * 1e4)).standard_normal((seeds, T + 1, T)))


def told(**change: list[list[float]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Matrices on which every claim holds, but for what is changed."""
    corpora = {"finetune": [[86, 80], [66, 91]], "joint_once": [[10, 10], [88, 91]]}
    permuted = {
        "finetune": [[89, 10, 10], [70, 90, 10], [60, 70, 90]],
        "l2": [[89, 10, 10], [89, 80, 10], [88, 75, 76]],
        "ewc": [[89, 10, 10], [89, 89, 10], [89, 89, 89]],
        "replay": [[89, 10, 10], [87, 90, 10], [85, 87, 91]],
    }
    unknown = change.keys() - corpora.keys() - permuted.keys()
    assert not unknown
    both = [{name: change.get(name, rows) for name, rows in part.items()} for part in (corpora, permuted)]
    first, second = ({name: matrices(len(rows[0]), *rows) for name, rows in part.items()} for part in both)
    return first, second


def test_claims_are_the_intervals_of_what_they_say() -> None:
    corpora, permuted = told()
    found = claims(corpora, permuted)
    assert list(found) == IDS
    assert all(c.holds and c.title == c.says and c.text.startswith(c.says) for c in found.values())
    lost = interval(100 * (corpora["finetune"][:, 1, 0] - corpora["finetune"][:, 2, 0]))
    [forgets], costly = found["forgets"].parts, found["l2_stubborn"].parts[0]
    assert (forgets.estimate, forgets.low) == pytest.approx((lost.mean, lost.mean - lost.half))
    costs = interval(100 * (permuted["ewc"][:, 3, 2] - permuted["l2"][:, 3, 2]))
    assert (costly.estimate, costly.high) == pytest.approx((costs.mean, costs.mean + costs.half))
    for claim in found.values():
        said = claim.as_json()
        assert {"id", "text", "holds", "estimate", "low", "high", "margin", "parts"} == set(said)
        assert all(part["low"] < part["estimate"] < part["high"] for part in said["parts"])
        assert said["low"] < said["estimate"] < said["high"]


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("forgets", {"finetune": [[86, 80], [86, 91]]}),
        ("capacity", {"joint_once": [[10, 10], [80, 91]]}),
        ("capacity", {"joint_once": [[10, 10], [91, 80]]}),
        (
            "capacity",
            {"finetune": [[20, 80], [10, 91]], "joint_once": [[10, 10], [20, 91]]},
        ),  # corpus 1 was never learnt
        (
            "ewc_keeps",
            {"ewc": [[89, 10, 10], [70, 90, 10], [61, 70, 89]], "l2": [[89, 10, 10], [89, 80, 10], [60, 75, 76]]},
        ),
        (
            "ewc_keeps",
            {"ewc": [[99, 10, 10], [89, 89, 10], [89, 89, 89]]},
        ),  # more than plain SGD has, and less than it had
        ("l2_stubborn", {"l2": [[89, 10, 10], [89, 80, 10], [88, 75, 88]]}),
        ("l2_stubborn", {"l2": [[89, 10, 10], [89, 80, 10], [62, 75, 76]]}),  # it does not keep A
        ("replay_keeps", {"replay": [[89, 10, 10], [70, 90, 10], [61, 70, 90]]}),
        ("replay_keeps", {"replay": [[89, 10, 10], [70, 90, 10], [68, 70, 90]]}),  # more than plain SGD, and not most
    ],
)
def test_a_story_that_the_numbers_do_not_tell_is_not_told(id: str, change: dict[str, Any]) -> None:
    corpora, permuted = told(**{name: rows for name, rows in change.items() if name != "finetune"})
    if "finetune" in change:  # of both parts: that of the corpora is meant
        corpora["finetune"] = matrices(2, *change["finetune"])
    found = claims(corpora, permuted)
    assert [c.id for c in found.values() if not c.holds] == [id]
    assert found[id].title != found[id].says
    assert found[id].text.startswith("These seeds do not show")
    paragraphs = story(
        corpora,
        permuted,
        chosen=CHOSEN,
        slots=SLOTS,
        mixed=(MIXED, 128),
        script=SCRIPT,
        commands=[("lifelong methods", "all")],
    )
    text = "\n".join("\n".join([p.text, *p.points]) for p in paragraphs)
    assert found[id].text in text
    assert ("capacity is not the cause" in text) == (id not in ("capacity", "forgets"))


def test_one_seed_decides_nothing() -> None:
    corpora, permuted = (({m: stack[:1] for m, stack in part.items()}) for part in told())
    found = claims(corpora, permuted)
    assert not any(c.holds for c in found.values())
    assert all(c.as_json()["low"] is None and "nan" not in c.text for c in found.values())


def test_strengths_are_those_of_the_script() -> None:
    measured = json.loads((RESULTS / "demo_strengths.json").read_text())
    config = parts()[PERMUTED]
    assert (measured["training"], measured["net"]) == (str(config.build_training()), str(config.build_net()))
    assert not set(measured["seeds"]) & set(SEEDS)
    for name, grid in measured["grids"].items():
        strengths = tuple(row["strength"] for row in grid)
        held_out = tuple(round(row["acc"]["mean"], 3) for row in grid)
        on = [tuple(round(row[task]["mean"], 3) for row in grid) for task in "AC"]
        assert CHOSEN[name] == Chosen(measured["chosen"][name], strengths, held_out, *on)
    ewc = max(measured["grids"]["ewc"], key=lambda row: row["acc"]["mean"])
    enough = [row["strength"] for row in measured["grids"]["l2"] if row["A"]["mean"] >= ewc["A"]["mean"]]
    assert (CHOSEN["ewc"].value, CHOSEN["l2"].value) == (ewc["strength"], min(enough))


def test_the_same_story_under_every_way_of_calculating() -> None:
    measured = json.loads((RESULTS / "demo_robust.json").read_text())
    ways = {(way["capability"], way["threads"]) for way in measured["ways"]}
    assert ways == {(c, t) for c in ("own", "avx2", "default") for t in (1, 2)}
    assert (measured["seeds"], measured["draws"], measured["drawn"]) == (30, 2000, len(SEEDS))
    assert measured["recipe"] == {name: config.to_yaml() for name, config in parts(range(30)).items()}
    for way in measured["ways"]:
        assert list(way["holds"]) == IDS
        assert min(way["holds"].values()) >= 0.99, way


def small(make: Callable[..., dict[str, RunSpec]] = parts) -> dict[str, RunSpec]:
    """The demo's parts with two seeds and an epoch of few images."""
    few = {}
    for name, config in make(SEEDS[:2]).items():
        options = {**config.stream_options, "examples": 128, "test_examples": 40}
        training = {**config.training, "epochs": 2}
        few[name] = replace(config, stream_options=options, training=training, evaluate_every=1)
    return few


def test_the_parts_are_run_folders_and_the_page_links_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "parts", small)
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    written = json.loads((out / "story.json").read_text())
    assert [c["id"] for c in written["claims"]] == IDS
    for claim in written["claims"]:
        assert claim["text"] in printed.out  # what is printed, and what is written, is one text
    page = (out / "report.html").read_text()
    for name, methods in ((CORPORA, ["finetune", "joint_once"]), (PERMUTED, ["finetune", "l2", "ewc", "replay"])):
        assert f'href="{name}/report.html"' in page
        assert (out / name / "report.html").exists()
        found = read(out / name)
        assert list(found.methods) == methods
        assert found.counts == [2] * len(methods)
        assert not found.unfinished
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    first = (out / PERMUTED / "results.csv").read_bytes()
    learnt = (out / PERMUTED / "events.jsonl").read_bytes()
    (out / "story.json").unlink()
    (out / PERMUTED / "results.csv").write_text("torn")  # by somebody who was killed
    (out / ".demo.png.123").touch()
    assert main(["demo", "--out", str(out)]) == 0  # nothing is learnt again
    assert json.loads((out / "story.json").read_text())["claims"] == written["claims"]
    assert (out / PERMUTED / "results.csv").read_bytes() == first
    assert (out / PERMUTED / "events.jsonl").read_bytes() == learnt
    (out / "notes.txt").write_text("mine")
    assert main(["demo", "--out", str(out)]) != 0
    assert "notes.txt" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_stopped_and_gone_on_with(tmp_path: Path) -> None:
    """Ctrl-C keeps what was learnt; the same command goes on, and every claim holds."""
    out = tmp_path / "out"
    command = [str(Path(sys.executable).with_name("lifelong")), "demo", "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    started = time.monotonic()
    while not list(out.glob(f"{PERMUTED}/checkpoint*/*")) and time.monotonic() - started < 300:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Go on with" in said
    assert "Traceback" not in said
    before = (out / CORPORA / "results.csv").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / CORPORA / "results.csv").read_bytes() == before
    found = json.loads((out / "story.json").read_text())["claims"]
    assert [c["id"] for c in found] == IDS
    assert all(c["holds"] for c in found), found


def test_claims_say_what_was_found() -> None:
    part = Part("the difference", 4.0, 3.0, 5.0, 3.5)
    claim = Claim("id", "It holds", "Neither", (part,))
    assert not claim.holds
    assert "+4.0 points (95% interval +3.0 to +5.0, margin +3.5, not shown)" in claim.text
    assert replace(claim, parts=(part._replace(low=3.6),)).holds
    assert not replace(claim, parts=(part._replace(low=3.6), part)).holds  # each part has to


def test_progress_is_shown_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "learn", stop)
    with pytest.raises(KeyboardInterrupt):  # nothing was learnt
        demo(tmp_path / "out")
    said = capsys.readouterr().err
    assert "Ctrl-C keeps" in said
    assert "learns   two-corpora: finetune, joint_once" in said


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.5, 1.0, 2.5, 4.0])
def test_ctrl_c_in_the_first_seconds(after: float, tmp_path: Path) -> None:
    """While modules are imported and processes start: the command ends in a sentence."""
    command = [str(Path(sys.executable).with_name("lifelong")), "demo", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped" in said
    assert "Traceback" not in said
