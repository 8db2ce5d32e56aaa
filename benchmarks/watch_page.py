"""The page of the runs in a real browser: a run is started, and the page is seen to fill.

A headless Chromium, driven by Playwright, opens `lifelong watch` on an empty folder. Runs are started, one is killed and resumed. It
is asserted that the page shows each of this without a reload, that nothing moves meanwhile (layout shift as browsers measure it),
that the keyboard gets everywhere and keeps its place, that nothing is wider than a narrow screen, that colours follow the system's
scheme, that no script or style is refused, and that no address but the page's own was asked for. Pictures: docs/watch-*.png. What
was seen: results/watch_page.json.

    python benchmarks/watch_page.py --chromium /usr/bin/chromium        (about two minutes)
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect, sync_playwright

from environment import DOCS, RESULTS, environment

LIFELONG = [sys.executable, "-m", "lifelong.cli"]
RUN = [
    *("run", "--stream", "permuted", "--stream.tasks", "5", "--stream.seed", "0", "--net.hidden", "100,100"),
    *("--lr", "0.05", "--threads", "1", "--every", "2"),
]
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) {
    window.shifts.push([e.value, e.sources.map((s) => s.node && (s.node.id || s.node.className || s.node.nodeName)).join(" ")]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""
FILLED = "() => [...document.querySelectorAll('table.R tbody td:not(.n)')].filter((c) => !c.classList.contains('empty')).length"
WIDE = {"viewport": {"width": 1180, "height": 900}, "color_scheme": "light"}
NARROW = {"viewport": {"width": 390, "height": 1250}, "color_scheme": "dark", "device_scale_factor": 2}
WIDER = "() => document.scrollingElement.scrollWidth - window.innerWidth"


def until(what: Callable[[], bool], seconds: float, said: str) -> float:
    """Waits; gives the seconds it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {said}"
        time.sleep(0.2)
    return time.monotonic() - began


def tab_to(page: Page, what: str, most: int = 60) -> int:
    """Presses Tab until what has the focus matches; gives how often."""
    for n in range(1, most + 1):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", what):
            return n
    raise AssertionError(f"the keyboard does not get to {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--epochs", type=int, default=6, help="of each task; fewer make a shorter run")
    said = parser.parse_args()
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        runs = Path(place) / "runs"
        runs.mkdir()
        watcher = subprocess.Popen(
            [*LIFELONG, "watch", "runs", "--port", "0"], cwd=place, stdout=subprocess.PIPE, text=True
        )
        assert watcher.stdout is not None
        address = watcher.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=said.chromium, args=["--no-sandbox"])
        try:
            look(browser, address, runs, said.epochs, seen)
        finally:
            browser.close()
            watcher.terminate()
            watcher.wait()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "watch_page.json").write_text(json.dumps({**environment(1), **seen}, indent=1) + "\n")
    print(json.dumps(seen, indent=1))


def look(browser: Any, address: str, runs: Path, epochs: int, seen: dict[str, Any]) -> None:
    asked: list[str] = []
    complaints: list[str] = []

    def opened(**context: Any) -> Page:
        page: Page = browser.new_context(**context).new_page()
        page.add_init_script(SHIFTS)
        page.on("request", lambda r: asked.append(r.url))
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        return page

    def begin(name: str, method: str, *more: str) -> subprocess.Popen[bytes]:
        command = [*LIFELONG, *RUN, "--epochs", str(epochs), "--method", method, *more, "--out", str(runs / name)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def picture(name: str, context: dict[str, Any], path: str, **how: Any) -> None:
        """Of a page of its own: a picture of all of a page resizes it meanwhile."""
        fresh = opened(**context)
        fresh.goto(address + path)
        fresh.screenshot(path=DOCS / name, **how)
        fresh.context.close()

    page = opened(**WIDE)
    page.goto(address)
    expect(page.get_by_text("No runs below")).to_be_visible()

    # --- a run appears, and fills ---
    first = begin("permuted-ewc", "finetune,ewc", "--ewc.strength", "5", "--seeds", "2")
    seen["appears_after_seconds"] = round(
        until(lambda: page.locator("a[href='/run/permuted-ewc']").count() == 1, 60, "run"), 1
    )
    seen["tabs_to_the_run"] = tab_to(page, "a[href='/run/permuted-ewc']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/run/permuted-ewc")
    narrow = opened(**NARROW)
    narrow.goto(f"{address}run/permuted-ewc")
    cells = page.locator("table.R tbody td:not(.n)").count()
    assert cells == 2 * 6 * 5, cells
    tab_to(page, "[aria-label='R of ewc']")
    filled: list[int] = []
    pictured = False
    while first.poll() is None or page.evaluate(FILLED) < cells:
        now = page.evaluate(FILLED)
        if not filled or now != filled[-1]:
            assert not filled or now > filled[-1], "a cell was emptied"
            assert (now - (filled[-1] if filled else 0)) % 5 == 0, "a row was filled in part"
            filled.append(now)
        assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "R of ewc", "focus was lost"
        left = page.locator("#state .time").inner_text()
        step = page.locator(".jobs .step").all_inner_texts()[-2:]
        if now >= 45 and "about" in left and any(step) and not pictured:
            pictured = True
            picture("watch-run.png", WIDE, "run/permuted-ewc", full_page=True)
            picture("watch-narrow.png", NARROW, "run/permuted-ewc")
            seen["said_while_running"] = " ".join(page.locator("#state .line").inner_text().split())
        time.sleep(0.1)
    assert pictured, "the run was too short for a picture"
    assert len(filled) >= 6, filled
    seen["cells_filled"] = filled
    expect(page.locator("#state .badge.finished")).to_be_visible(timeout=30000)
    assert page.evaluate("() => performance.getEntriesByType('navigation').length") == 1  # never reloaded
    for name, opened_page in (("wide", page), ("narrow", narrow)):
        shifts = opened_page.evaluate("() => window.shifts")
        seen[f"layout_shift_{name}"] = round(sum(v for v, _ in shifts), 4)
        seen[f"layout_shift_{name}_worst"] = max(shifts, default=[0, ""])
    for path in ("", "run/permuted-ewc", "two"):
        narrow.goto(address + path)
        assert narrow.evaluate(WIDER) <= 0, f"/{path} is wider than a narrow screen"
    dark, light = (p.evaluate("() => getComputedStyle(document.body).backgroundColor") for p in (narrow, page))
    assert dark != light

    # --- one is killed, and gone on with by the command that the page shows ---
    second = begin("permuted-er", "finetune,replay")
    page.goto(address)
    until(lambda: page.locator("a[href='/run/permuted-er']").count() == 1, 60, "second run")
    page.goto(f"{address}run/permuted-er")
    until(lambda: page.evaluate(FILLED) >= 15, 120, "some rows of the second run")
    second.kill()
    second.wait()
    seen["killed_is_seen_after_seconds"] = round(
        until(lambda: page.locator("#state .badge.interrupted").count() == 1, 60, "kill"), 1
    )
    command = page.locator("#state code").inner_text()
    assert command == "lifelong resume runs/permuted-er", command
    page.screenshot(path=DOCS / "watch-interrupted.png", clip={"x": 0, "y": 0, "width": 1180, "height": 520})
    resumed = subprocess.Popen(
        [*LIFELONG, *shlex.split(command)[1:]], cwd=runs.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: page.locator("#state .badge.running").count() == 1, 60, "resumed")

    # --- one fails ---
    failing = begin("permuted-wild", "finetune", "--lr", "1e30")
    failing.wait()
    page.goto(f"{address}run/permuted-wild")
    expect(page.locator("#state .box.bad")).to_contain_text("lower the learning rate")

    # --- two side by side, from the list, by keyboard ---
    page.goto(address)
    for name in ("permuted-er", "permuted-ewc"):
        page.focus(f"input[value='{name}']")
        page.keyboard.press("Space")
    time.sleep(2.5)  # the list is told of changes meanwhile, and keeps its ticks
    tab_to(page, "form button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/two?*")
    assert page.locator("#a-matrix table.R").count() == page.locator("#b-matrix table.R").count() == 2
    assert resumed.wait() == 0
    expect(page.locator(".badge.running")).to_have_count(0, timeout=30000)
    picture(
        "watch-two.png",
        WIDE | {"viewport": {"width": 1400, "height": 900}},
        page.url.removeprefix(address),
        full_page=True,
    )
    assert page.evaluate(WIDER) <= 0

    # --- the report of a run ---
    page.goto(f"{address}run/permuted-ewc")
    page.get_by_role("link", name="Report of permuted-ewc").click()
    page.wait_for_url("**/report/permuted-ewc")
    pictures = page.evaluate("() => [...document.images].map((i) => i.naturalWidth)")
    assert pictures, "no picture in the report"
    assert all(pictures), pictures
    assert page.evaluate("() => getComputedStyle(document.body).maxWidth") != "none"  # its own style is let in

    assert not complaints, complaints
    hosts = {urlsplit(u).netloc for u in asked if not u.startswith("data:")}
    assert hosts == {urlsplit(address).netloc}, hosts
    seen["requests"], seen["hosts"] = len(asked), len(hosts)
    assert seen["layout_shift_wide"] < 0.01, seen
    assert seen["layout_shift_narrow"] < 0.01, seen


if __name__ == "__main__":
    main()
