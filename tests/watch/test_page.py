"""The page of the runs: what it shows of one run, of many, and of two side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lifelong.watch.page import about
from run_folders import TASKS, lay_out, learn
from watched_pages import PAGES, Read, serving


def test_times_left_do_not_tremble() -> None:
    said = [about(s) for s in (0, 12, 57, 58, 119, 3570, 7500, 200000)]
    assert said == ["5 s", "10 s", "55 s", "1 min", "2 min", "1 h 0 min", "2 h 5 min", "2 d 7 h"]


def test_the_index_shows_all_runs(client: TestClient) -> None:
    page = client.get("/").text
    assert page.index("interrupted") < page.index("running")  # the last started comes first
    links = [a["href"] for a in Read(page).of("a")]
    assert {"/run/first", "/run/deep/second"} <= set(links)


def test_r_fills_row_by_row_and_has_its_size_from_the_start(client: TestClient, tmp_path: Path) -> None:
    page = Read(client.get("/run/first").text)
    cells = page.cells()
    ewc, joint = cells[:20], cells[20:]
    assert [c.startswith("empty") for c in ewc] == [False] * 8 + [True] * 12
    assert not any(c.startswith("empty") for c in joint)
    assert [i for i, c in enumerate(ewc) if c.endswith("own")] == [4, 9, 14, 19]
    assert {"0.01", "0.14"} <= set(page.words)
    learn(tmp_path / "runs" / "first", "ewc/0", 3)
    after = Read(client.get("/run/first").text)
    assert [c.startswith("empty") for c in after.cells()[:20]] == [False] * 12 + [True] * 8
    assert len(after.cells()) == len(cells)
    assert len([t for t, _ in after.tags if t != "circle"]) == len([t for t, _ in page.tags if t != "circle"])


def test_each_task_has_a_curve(client: TestClient) -> None:
    panels = [a for a in Read(client.get("/run/first").text).of("svg") if a.get("role") == "img"]
    assert len(panels) == len(TASKS)
    assert panels[1]["aria-label"] == "Accuracy on one now: ewc 0.12, joint 0.42."


def test_many_tasks_are_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.watch.page.CELLS", 3)
    monkeypatch.setattr("lifelong.watch.page.PANELS", 2)
    lay_out(tmp_path / "run", {"ewc/0": 3})
    page = Read(serving(tmp_path).get("/run/run").text)
    [picture] = page.of("img")
    assert (picture["src"] or "").startswith("data:image/png;base64,iVBOR")
    assert "after 2 of 4 tasks. Now: zero 0.21" in (picture["alt"] or "")
    assert len([a for a in page.of("svg") if a.get("role") == "img"]) == 2


def test_two_runs_side_by_side(client: TestClient) -> None:
    page = Read(client.get(PAGES[-1]).text)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert {"a-matrix", "b-matrix", "both"} <= set(ids)
    assert [a["value"] for a in page.of("option") if "selected" in a] == ["first", "deep/second"]
    legends = [a["class"] for a in page.of("line") if (a.get("class") or "").startswith("line")]
    assert legends == ["line k0 d0", "line ink d1", "line grey d0"]  # ewc and joint; finetune
    assert "both" not in [a.get("id") for _, a in Read(client.get("/two?run=first&run=nowhere").text).tags]


@pytest.mark.parametrize("path", PAGES)
def test_pages_can_be_used_by_everybody(path: str, client: TestClient) -> None:
    page = Read(client.get(path).text)
    assert page.of("html")[0]["lang"] == "en"
    assert len(page.of("h1")) == len(page.of("main")) == 1
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a.get("aria-label") or a.get("aria-labelledby") in ids for a in page.of("section", "progress", "nav"))
    assert all("scope" in a for a in page.of("th"))
    regions = [a for a in page.of("div") if a.get("class") == "scroll"]
    assert all(a.get("tabindex") == "0" and (a.get("aria-label") or a.get("aria-labelledby") in ids) for a in regions)
    assert len(regions) == len(page.of("table"))
    assert all(a.get("alt") for a in page.of("img"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in page.of("svg"))


def test_no_run_shows_what_makes_one(tmp_path: Path) -> None:
    assert "lifelong run --out" in serving(tmp_path).get("/").text
