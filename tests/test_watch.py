"""The page of the runs: what it reads, what it shows, and what it refuses."""

from __future__ import annotations

import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

import lifelong.watch
from lifelong import MLP, Finetune, Training, fit, split
from lifelong.cli import main
from lifelong.config import Config
from lifelong.jobs import Message, execute
from lifelong.live import Folder
from lifelong.pulse import FILE, FRESH, LOST, alive
from lifelong.report.results import HEADER
from lifelong.run import Record, log
from lifelong.watch.app import application
from lifelong.watch.page import about

SMALL = {
    "stream": "split",
    "stream.source": "digits",
    "stream.tasks": 2,
    "net.hidden": (16,),
    "threads": 1,
    "scenario": "task",
}
TASKS = ("zero", "one", "two <b>", "three")


def lay_out(folder: Path, rows: dict[str, int], running: bool = True, at: Sequence[int] = (2, 30, 60)) -> Path:
    """A run of four tasks by hand, each job ("ewc/0") with so many rows of R; task t took t seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    methods, seeds = zip(*(key.split("/") for key in rows))
    (folder / "config.yaml").write_text(
        f"stream: permuted\nmethod: {','.join(dict.fromkeys(methods))}\nseeds: [{','.join(dict.fromkeys(seeds))}]\n"
    )
    (folder / "manifest.json").write_text(
        json.dumps({"stream": "permuted", "scenario": "domain", "tasks": TASKS, "source": "by <i>hand</i>"})
    )
    log(folder, "started", jobs=1)
    for key, n in rows.items():
        learn(folder, key, n)
    if running:
        jobs = {
            key: {"task": at[0], "step": at[1], "steps": at[2], "since": time.time() - 3, "first": 0}
            for key, n in rows.items()
            if n <= len(TASKS)
        }
        said = {"time": time.time(), "pid": os.getpid(), "host": socket.gethostname(), "jobs": jobs}
        (folder / FILE).write_text(json.dumps(said))
    return folder


def learn(folder: Path, key: str, n: int) -> None:
    """`n` rows of R of the job `key` in its newest checkpoint, cell (i, j) being 0.ij, and an event."""
    record = Record(
        T=len(TASKS),
        accuracy=[[0.1 * i + 0.01 * (j + 1) for j in range(len(TASKS))] for i in range(n)],
        seconds=[[0.0] * len(TASKS)] * n,
        n=[10] * len(TASKS),
        train_seconds=[float(i) for i in range(n)],
        parameters=[1000] * n,
        memory_bytes=[200 * i for i in range(n)],
        forward=[100] * n,
        backward=[100] * n,
    )
    place = folder / "checkpoint" / key / f"{n:06d}"
    place.mkdir(parents=True, exist_ok=True)
    if n:
        (place / "state.json").write_text(json.dumps({"record": record.to_json()}))
    if n > 1:
        method, seed = key.split("/")
        log(folder, "task", method=method, seed=int(seed), after=n - 1, accuracy=record.accuracy[-1])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, finished."""
    out = tmp_path_factory.mktemp("runs") / "done"
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    assert main(["run", *flags, "--method", "finetune,ewc", "--ewc.strength", "5", "--out", str(out)]) == 0
    return out


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    lay_out(tmp_path / "runs" / "first", {"ewc/0": 2, "ewc/1": 0, "joint/0": 5})
    lay_out(tmp_path / "runs" / "deep" / "second", {"finetune/0": 3}, running=False)
    return serving(tmp_path / "runs")


def serving(folder: Path, **guard: Any) -> TestClient:
    return TestClient(application(Folder(folder), **guard), base_url="http://127.0.0.1:8765", follow_redirects=False)


# --- what a run writes, and what is read of it ---------------------------------------------------------------------------
def test_a_run_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.pulse.EVERY", 0.01)
    monkeypatch.setattr("lifelong.jobs.BETWEEN", 0.0)  # each pause is told of: how fast the machine is does not matter
    out, seen = tmp_path / "run", []

    def look(message: Message) -> None:
        if message.kind == "step" and message.task == 1 and not seen:
            time.sleep(0.1)
            run = Folder(out).look("run")
            assert run is not None
            seen.append(run)

    config = Config.from_keys(SMALL | {"method": "ewc", "epochs": 20, "seeds": 2})
    assert not execute(config, out, tell=look)[1]
    [run] = seen
    first, second = run.jobs
    assert (run.state, first.state, second.state) == ("running", "running", "waiting")
    assert first.learnt == 1
    assert 1 < first.done < 2
    assert 0.25 < run.share < 0.5
    assert run.left is not None
    assert run.left > first.spent(1)  # the other seed has all of it before it
    after = Folder(out).look("run")
    assert after is not None
    assert (after.state, after.share, after.left) == ("finished", 1.0, None)
    assert not list(out.glob("*progress*"))


def test_a_run_made_in_python_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.pulse.EVERY", 0.01)
    out, states = tmp_path / "run", []

    def look(index: int, pause: object) -> None:
        time.sleep(0.03)
        run = Folder(out).look("run")
        states.append(run and (run.state, run.jobs[0].job.method, run.resume))

    stream = split(tasks=2, source="digits", scenario="task")
    fit(Finetune(), MLP((16,)), stream, training=Training(epochs=1), out=out, watch=look)
    assert states[-1] == ("running", "finetune", "")
    run = Folder(out).look("run")
    assert run is not None
    assert (run.state, run.tasks) == ("finished", tuple(t.name for t in stream))


def test_what_is_read_is_what_was_measured(done: Path, tmp_path: Path) -> None:
    run = Folder(done).look("done")
    assert run is not None
    summary = json.loads((done / "summary.json").read_text())["methods"]
    for method in ("finetune", "ewc"):
        assert run.measures(method)["acc"] == list(summary[method]["acc"]["values"].values())
    bare = shutil.copytree(done, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoint")
    again = Folder(bare).look("bare")
    assert again is not None
    assert again.state == "finished"
    for a, b in zip(run.jobs, again.jobs):
        np.testing.assert_array_equal(np.array(a.record.accuracy), np.array(b.record.accuracy))
        assert (a.record.parameters, a.record.forward) == (b.record.parameters, b.record.forward)
        assert sum(map(a.spent, range(3))) == pytest.approx(sum(map(b.spent, range(3))))


def test_a_run_that_was_killed_is_interrupted_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a run"
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    command = [sys.executable, "-m", "lifelong.cli", "run", *flags, "--epochs", "100000", "--every", "0"]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("checkpoint/*/*/*/state.json")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        run = Folder(out).look("a run")
        assert run is not None
        assert run.state == "running"
    finally:
        process.kill()
        process.wait()
    run = Folder(out).look("a run", time.time() + FRESH + 1)
    assert run is not None
    assert run.state == run.jobs[0].state == "interrupted"
    assert f"Killed: process {process.pid}" in run.reason
    assert run.resume == f"lifelong resume '{out}'"
    assert run.jobs[0].record.rows == 1  # the untrained network


@pytest.mark.parametrize(
    ("age", "pid", "host", "lives"),
    [
        (0, -1, "", True),
        (FRESH + 1, None, "", True),  # this process, whose number differs from worker to worker
        (FRESH + 1, 2**22 + 1, "", False),  # no process has this number
        (FRESH + 1, 2**22 + 1, "elsewhere", True),
        (LOST + 1, None, "", False),
        (-10, 1, "", True),  # a clock that is ahead
    ],
)
def test_who_is_alive(age: float, pid: int | None, host: str, lives: bool) -> None:
    assert (
        alive({"time": 1000.0 - age, "pid": pid or os.getpid(), "host": host or socket.gethostname()}, 1000.0) is lives
    )


def test_time_left_is_what_the_same_tasks_took(tmp_path: Path) -> None:
    run = Folder(lay_out(tmp_path / "run", {"ewc/0": 5, "ewc/1": 2})).look("run")
    assert run is not None
    assert run.left == pytest.approx(0.5 * 2 + 3 + 4)
    alone = Folder(lay_out(tmp_path / "alone", {"ewc/0": 3}, at=(3, 15, 60))).look("alone")
    assert alone is not None
    assert alone.left == pytest.approx(0.75 * 1.5 + 1.5)  # the mean of its own two
    new = Folder(lay_out(tmp_path / "new", {"ewc/0": 1}, at=(1, 20, 60))).look("new")
    assert new is not None
    assert new.left == pytest.approx(4 * 9 - 3, abs=0.3)  # twenty steps took three seconds


def test_times_left_do_not_tremble() -> None:
    said = [about(s) for s in (0, 12, 57, 58, 119, 3570, 7500, 200000)]
    assert said == ["5 s", "10 s", "55 s", "1 min", "2 min", "1 h 0 min", "2 h 5 min", "2 d 7 h"]


def test_a_failure_stands_with_its_message(tmp_path: Path) -> None:
    flags = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
    assert main(["run", *flags, "--lr", "1e30", "--out", str(tmp_path / "wild")]) == 1
    page = serving(tmp_path).get("/run/wild").text
    assert "lower the learning rate" in page
    assert "finetune, seed 0, failed" in page
    assert f"lifelong resume {tmp_path}/wild" in page


def test_what_is_not_the_librarys_error_is_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of somebody's own")

    monkeypatch.setattr("lifelong.learner.Learner.evaluate", broken)
    with pytest.raises(ZeroDivisionError):
        execute(Config.from_keys(SMALL), tmp_path / "run")
    run = Folder(tmp_path / "run").look("run")
    assert run is not None
    assert (run.state, run.jobs[0].error) == ("failed", "ZeroDivisionError: of somebody's own")


def test_ctrl_c_is_told_from_a_kill(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "run", {"ewc/0": 2}, running=False)
    log(folder, "interrupted", method="ewc", seed=0)
    run = Folder(folder).look("run")
    assert run is not None
    assert "Ctrl-C" in run.reason
    log(folder, "resumed", jobs=1)
    lay_out(folder, {"ewc/0": 2})
    run = Folder(folder).look("run")
    assert run is not None
    assert run.state == "running"


# --- pages ---------------------------------------------------------------------------------------------------------------
class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name in names]

    def cells(self) -> list[str]:
        """The classes of R's cells."""
        looks = [a["class"] or "" for a in self.of("td") if "class" in a]
        return [c for c in looks if re.match(r"v\d+|empty|undefined", c)]


PAGES = ["/", "/run/first", "/run/deep/second", "/two", "/two?run=first&run=deep%2Fsecond"]


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


# --- what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", PAGES)
def test_no_page_asks_for_anything_outside(path: str, client: TestClient) -> None:
    answer = client.get(path)
    page = Read(answer.text)
    for _, attributes in page.tags:
        for name in ("href", "src", "action", "srcset", "poster", "data"):
            assert re.match(r"#|/(?![/\\])|data:image/", attributes.get(name) or "/"), attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert "<style" not in answer.text
    assert all(a.get("src") == "/static/watch.js" for a in page.of("script"))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"http|\*|unsafe", policy)


def test_no_file_of_the_page_names_an_address_outside() -> None:
    files = [f for f in Path(lifelong.watch.__path__[0]).rglob("*") if f.suffix in (".js", ".css", ".svg", ".j2")]
    assert len(files) == 6
    for file in files:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # a name space, not an address
        assert not re.search(r"https?:|[\"'(]//|@import|url\(", text), file


def test_what_a_run_says_is_text(client: TestClient, tmp_path: Path) -> None:
    log(tmp_path / "runs" / "first", "failed", method="ewc", seed=1, error="<script>alert(1)</script>")
    page = client.get("/run/first").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>\n" not in page
    assert "two <b>" not in page
    assert "<i>hand" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/run/../secret",
        "/run/..%2Fsecret",
        "/report/..%2Fsecret",
        "/report/%2Fetc%2Fpasswd",
        "/report/first/../../secret",
        "/report/linked",
        "/report/first",  # its report is a link out of the folder
        "/run/linked",
        "/run/",
        "/events/run/..%2Fsecret",
        "/static/..%2Fapp.py",
        "/static/%2e%2e/app.py",
        "/nothing",
    ],
)
def test_nothing_outside_the_folder_is_shown(path: str, client: TestClient, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    secret = lay_out(tmp_path / "secret", {"ewc/0": 2})
    (secret / "report.html").write_text("a secret")
    (runs / "linked").symlink_to(secret, target_is_directory=True)
    (runs / "first" / "report.html").symlink_to(secret / "report.html")
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace(path, "")
    assert "linked" not in client.get("/").text


def test_files_that_are_no_files_are_left_alone(client: TestClient, tmp_path: Path) -> None:
    first = tmp_path / "runs" / "first"
    (first / "events.jsonl").unlink()
    os.mkfifo(first / "events.jsonl")  # reading it would wait for ever
    (first / "manifest.json").unlink()
    (first / "manifest.json").symlink_to(first / "manifest.json")
    for path in PAGES:
        assert client.get(path).status_code == 200


ROW = "permuted,domain,ewc,0"
DOUBLING = "".join(f"{b}: &{b} {{x: *{a}, y: *{a}}}\n" for a, b in pairwise(ascii_lowercase))
WILD = {
    "config.yaml": [
        "a: [b",
        "[]",
        "method: ../../../..\nseeds: [0]",
        "seeds: 999999999",
        "seeds: [x]",
        'method: "a\\0b"',
        "&a [*a]",
        "a: &a {x: 1}\n" + DOUBLING,
        "[" * 100000,
    ],
    "manifest.json": [
        "{",
        "[]",
        '{"tasks": 5}',
        '{"tasks": [{}, null, 7, []]}',
        '{"tasks": ["a"]}',
        '{"stream": {"a": 1}}',
    ],
    "events.jsonl": [
        "{}\n\n[1]\nnull",
        '{"time": NaN, "event": "started"}',
        '{"time": 1e300, "event": "started"}',
        '{"time": 1, "event": "started", "jobs": "many"}',
        '{"time": 1, "event": "task", "method": [], "seed": {}, "after": -5}',
        '{"time": 1, "event": "task", "method": "ewc", "seed": 0, "after": 99}',
        '{"time": 1, "event": "failed", "method": "ewc", "seed": 1, "error": {"a": 1}}',
    ],
    FILE: [
        '{"time": "never"}',
        '{"time": 1e999, "pid": 1, "host": "", "jobs": {}}',
        '{"time": 1, "pid": -1, "host": "", "jobs": []}',
        '{"time": 1, "pid": 1, "host": "", "jobs": {"ewc/0": {"task": 2}}}',
    ],
    "checkpoint/ewc/0/000002/state.json": [
        "{}",
        '{"record": {"T": 4, "accuracy": [[1]]}}',
        '{"record": {"T": 1e9}}',
        '{"record": {"T": 1000000000}}',
        '{"record": {"T": 4, "accuracy": [[0, 0, 0, 2]], "seconds": [[0, 0, 0, 0]], "parameters": [1]}}',
        '{"record": {"T": 4, "accuracy": [[0, 0, 0, 1]]}}',
        "[" * 100000,
    ],
    "results.csv": [f"{HEADER}\n{ROW},99999999,1,accuracy,1,1,0", f"{HEADER}\n{ROW},1,x,accuracy,1,1,0", HEADER, "\0"],
}


@pytest.mark.parametrize("name", WILD)
def test_what_no_run_writes_breaks_no_page(name: str, client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "runs" / "first" / name
    if name == "results.csv":
        shutil.rmtree(file.parent / "checkpoint")
    began = time.monotonic()
    for text in WILD[name]:
        file.write_text(text)
        for path in ("/", "/run/first", PAGES[-1]):
            assert client.get(path).status_code == 200, text[:80]
    assert time.monotonic() - began < 30


def test_a_report_is_shown_without_its_scripts(done: Path) -> None:
    answer = serving(done.parent).get("/report/done")
    assert answer.content == (done / "report.html").read_bytes()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "sandbox" in policy


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_it_only_reads(method: str, client: TestClient) -> None:
    assert {client.request(method, p).status_code for p in ["/", "/run/first", "/report/first", "/events/"]} == {405}


@pytest.mark.parametrize(
    ("host", "names", "status"),
    [
        ("127.0.0.1:8765", [], 200),
        ("[::1]:8765", [], 200),
        ("localhost", [], 200),
        ("evil.example:8765", [], 421),
        ("127.0.0.1.evil.example", [], 421),
        ("192.168.0.7", [], 421),  # it was not told to be there
        ("", [], 421),
        ("192.168.0.7:8765", ["tower"], 200),
        ("Tower:8765", ["tower"], 200),
        ("evil.example", ["tower"], 421),
    ],
)
def test_only_its_own_names_are_answered(host: str, names: list[str], status: int, tmp_path: Path) -> None:
    assert serving(tmp_path, names=names).get("/", headers={"host": host}).status_code == status


def test_a_token_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path / "first", {"ewc/0": 2})
    asked = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: asked.append(a) or compare(a, b))
    client = serving(tmp_path, names=["tower"], token="sesame")
    for path in ("/", "/run/first", "/events/", "/static/watch.js", "/report/first", "/?token=open", "/?token="):
        assert client.get(path).status_code == 401
    assert b"open" in asked  # compared in constant time
    assert client.get("/", headers={"authorization": "Bearer open"}).status_code == 401
    assert client.get("/", headers={"authorization": "Bearer sesame"}).status_code == 200
    away = client.get("http://127.0.0.1:8765//evil.example/?token=sesame")
    assert away.headers["location"] == "/evil.example/"
    arrived = client.get("/run/first?x=1&token=sesame")
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/run/first?x=1")
    assert re.search(r"httponly.*samesite=strict", arrived.headers["set-cookie"].lower())
    assert client.get("/run/first").status_code == 200  # with the cookie


# --- over the wire -------------------------------------------------------------------------------------------------------
def served(*flags: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lifelong.cli", "watch", *flags, "--port", "0"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def told(lines: Iterator[str]) -> dict[str, str]:
    """The next message."""
    found: dict[str, str] = json.loads(next(x for x in lines if x.startswith("data: ")).removeprefix("data: "))
    return found


def test_open_pages_are_told_what_changed(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "first", {"ewc/0": 2}, running=False)
    process, address = served(str(tmp_path))
    other, elsewhere = served(str(tmp_path), "--host", "0.0.0.0", LIFELONG_WATCH_TOKEN="sesame")
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert elsewhere.endswith("/?token=sesame")
        port = elsewhere.split(":")[-1].split("/")[0]
        bearer = {"authorization": "Bearer sesame"}
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=60).status_code == 401
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=bearer, timeout=60).status_code == 200
        with httpx.stream("GET", f"{address}events/run/first", timeout=60) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            whole = told(lines)
            assert {"state", "jobs", "matrix", "curves", "costs", "said"} <= whole.keys()
            learn(folder, "ewc/0", 3)
            changed = told(lines)
            assert {"matrix", "curves", "said"} <= changed.keys()
            assert not {"origin", "measures"} & changed.keys()  # as they were
            assert changed["said"] == "first: ewc, seed 0, has learnt task 2 of 4."
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        for p in (process, other):
            p.kill()
            p.communicate()


def test_the_page_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, lifelong.cli, lifelong.watch.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "pandas"} & set(done.stdout.split())


def test_errors_say_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["watch", str(tmp_path / "nowhere")]) == 1
    assert "no directory" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["watch", str(tmp_path), "--port", str(taken.getsockname()[1])]) == 1
    assert "--port" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "lifelong.watch.app", None)
    assert main(["watch", str(tmp_path)]) == 1
    assert "lifelong[watch]" in capsys.readouterr().err
