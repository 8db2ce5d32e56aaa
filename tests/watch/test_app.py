"""The page of the runs as it is served: what it refuses, whom it answers, and what open pages are told."""

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
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

import lifelong.watch
from lifelong.cli import main
from lifelong.report.results import HEADER
from lifelong.runs.heartbeat import FILE
from lifelong.runs.run import log
from run_folders import lay_out, learn
from watched_pages import PAGES, Read, serving


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


def served(*flags: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lifelong", "watch", *flags, "--port", "0"],
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
