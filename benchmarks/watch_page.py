"""The page of the runs in a real browser: a run is started, and the page is seen to fill.

A headless Chromium, driven by Playwright, opens `lifelong watch` on an empty folder. Runs are started, one is killed and resumed. It
is asserted that the page shows each of this without a reload, that nothing moves meanwhile (layout shift as browsers measure it),
that the keyboard gets everywhere and keeps its place, that nothing is wider than a narrow screen, that colours follow the system's
scheme, that no script or style is refused, and that no address but the page's own was asked for. Pictures: docs/watch-*.png. What
was seen: results/watch_page.json.

    python benchmarks/watch_page.py --chromium /usr/bin/chromium        (about two minutes)
"""

from __future__ import annotations

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

from playwright.sync_api import Browser, Page, expect, sync_playwright

from harness import Benchmark

LIFELONG = [sys.executable, "-m", "lifelong"]
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


class Session:
    """A browser in front of the page of the runs: what is done, what is seen, and what the page asked for meanwhile."""

    def __init__(self, browser: Browser, address: str, runs: Path, epochs: int, docs: Path) -> None:
        self.browser, self.address, self.runs, self.epochs, self.docs = browser, address, runs, epochs, docs
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.seen: dict[str, Any] = {}
        self.page = self.opened(**WIDE)

    def opened(self, **context: Any) -> Page:
        page: Page = self.browser.new_context(**context).new_page()
        page.add_init_script(SHIFTS)
        page.on("request", lambda r: self.asked.append(r.url))
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        return page

    def begin(self, name: str, method: str, *more: str) -> subprocess.Popen[bytes]:
        command = [*LIFELONG, *RUN, "--epochs", str(self.epochs), "--method", method, *more]
        command += ["--out", str(self.runs / name)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def picture(self, name: str, context: dict[str, Any], path: str, **how: Any) -> None:
        """Of a page of its own: a picture of all of a page resizes it meanwhile."""
        fresh = self.opened(**context)
        fresh.goto(self.address + path)
        fresh.screenshot(path=self.docs / name, **how)
        fresh.context.close()

    def a_run_appears_and_fills(self) -> None:
        page = self.page
        page.goto(self.address)
        expect(page.get_by_text("No runs below")).to_be_visible()
        first = self.begin("permuted-ewc", "finetune,ewc", "--ewc.strength", "5", "--seeds", "2")
        appears = until(lambda: page.locator("a[href='/run/permuted-ewc']").count() == 1, 60, "run")
        self.seen["appears_after_seconds"] = round(appears, 1)
        self.seen["tabs_to_the_run"] = tab_to(page, "a[href='/run/permuted-ewc']")
        page.keyboard.press("Enter")
        page.wait_for_url("**/run/permuted-ewc")
        narrow = self.opened(**NARROW)
        narrow.goto(f"{self.address}run/permuted-ewc")
        self.seen["cells_filled"] = self.filled(first)
        expect(page.locator("#state .badge.finished")).to_be_visible(timeout=30000)
        assert page.evaluate("() => performance.getEntriesByType('navigation').length") == 1  # never reloaded
        self.nothing_moved_or_is_too_wide(narrow)

    def filled(self, run: subprocess.Popen[bytes]) -> list[int]:
        """How many cells of R are filled, row by row, while the run goes on; a picture is taken meanwhile."""
        page, pictured, found = self.page, False, list[int]()
        cells = page.locator("table.R tbody td:not(.n)").count()
        assert cells == 2 * 6 * 5, cells
        tab_to(page, "[aria-label='R of ewc']")
        while run.poll() is None or page.evaluate(FILLED) < cells:
            now = page.evaluate(FILLED)
            if not found or now != found[-1]:
                assert not found or now > found[-1], "a cell was emptied"
                assert (now - (found[-1] if found else 0)) % 5 == 0, "a row was filled in part"
                found.append(now)
            focus = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
            assert focus == "R of ewc", "focus was lost"
            left = page.locator("#state .time").inner_text()
            step = page.locator(".jobs .step").all_inner_texts()[-2:]
            if now >= 45 and "about" in left and any(step) and not pictured:
                pictured = True
                self.picture("watch-run.png", WIDE, "run/permuted-ewc", full_page=True)
                self.picture("watch-narrow.png", NARROW, "run/permuted-ewc")
                self.seen["said_while_running"] = " ".join(page.locator("#state .line").inner_text().split())
            time.sleep(0.1)
        assert pictured, "the run was too short for a picture"
        assert len(found) >= 6, found
        return found

    def nothing_moved_or_is_too_wide(self, narrow: Page) -> None:
        for name, page in (("wide", self.page), ("narrow", narrow)):
            shifts = page.evaluate("() => window.shifts")
            self.seen[f"layout_shift_{name}"] = round(sum(v for v, _ in shifts), 4)
            self.seen[f"layout_shift_{name}_worst"] = max(shifts, default=[0, ""])
        for path in ("", "run/permuted-ewc", "two"):
            narrow.goto(self.address + path)
            assert narrow.evaluate(WIDER) <= 0, f"/{path} is wider than a narrow screen"
        colour = "() => getComputedStyle(document.body).backgroundColor"
        assert narrow.evaluate(colour) != self.page.evaluate(colour)  # dark, and light

    def one_is_killed_and_resumed(self) -> subprocess.Popen[bytes]:
        """By the command that the page shows; the process that goes on is given."""
        page = self.page
        second = self.begin("permuted-er", "finetune,replay")
        page.goto(self.address)
        until(lambda: page.locator("a[href='/run/permuted-er']").count() == 1, 60, "second run")
        page.goto(f"{self.address}run/permuted-er")
        until(lambda: page.evaluate(FILLED) >= 15, 120, "some rows of the second run")
        second.kill()
        second.wait()
        noticed = until(lambda: page.locator("#state .badge.interrupted").count() == 1, 60, "kill")
        self.seen["killed_is_seen_after_seconds"] = round(noticed, 1)
        command = page.locator("#state code").inner_text()
        assert command == "lifelong resume runs/permuted-er", command
        shown = {"x": 0, "y": 0, "width": 1180, "height": 520}
        page.screenshot(path=self.docs / "watch-interrupted.png", clip=shown)
        again = [*LIFELONG, *shlex.split(command)[1:]]
        quiet = subprocess.DEVNULL
        resumed = subprocess.Popen(again, cwd=self.runs.parent, stdout=quiet, stderr=quiet)
        until(lambda: page.locator("#state .badge.running").count() == 1, 60, "resumed")
        return resumed

    def one_fails(self) -> None:
        self.begin("permuted-wild", "finetune", "--lr", "1e30").wait()
        self.page.goto(f"{self.address}run/permuted-wild")
        expect(self.page.locator("#state .box.bad")).to_contain_text("lower the learning rate")

    def two_side_by_side(self, resumed: subprocess.Popen[bytes]) -> None:
        """From the list, by keyboard."""
        page = self.page
        page.goto(self.address)
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
        screen = WIDE | {"viewport": {"width": 1400, "height": 900}}
        self.picture("watch-two.png", screen, page.url.removeprefix(self.address), full_page=True)
        assert page.evaluate(WIDER) <= 0

    def the_report_of_a_run(self) -> None:
        page = self.page
        page.goto(f"{self.address}run/permuted-ewc")
        page.get_by_role("link", name="Report of permuted-ewc").click()
        page.wait_for_url("**/report/permuted-ewc")
        pictures = page.evaluate("() => [...document.images].map((i) => i.naturalWidth)")
        assert pictures, "no picture in the report"
        assert all(pictures), pictures
        assert page.evaluate("() => getComputedStyle(document.body).maxWidth") != "none"  # its own style is let in

    def nothing_was_wrong(self) -> None:
        assert not self.complaints, self.complaints
        hosts = {urlsplit(u).netloc for u in self.asked if not u.startswith("data:")}
        assert hosts == {urlsplit(self.address).netloc}, hosts
        self.seen["requests"], self.seen["hosts"] = len(self.asked), len(hosts)
        assert self.seen["layout_shift_wide"] < 0.01, self.seen
        assert self.seen["layout_shift_narrow"] < 0.01, self.seen

    def all(self) -> None:
        self.a_run_appears_and_fills()
        resumed = self.one_is_killed_and_resumed()
        self.one_fails()
        self.two_side_by_side(resumed)
        self.the_report_of_a_run()
        self.nothing_was_wrong()


def main() -> None:
    bench = Benchmark("watch_page", __doc__)
    bench.flag("--chromium", default="/usr/bin/chromium")
    bench.flag("--epochs", type=int, default=6, help="of each task; fewer make a shorter run")
    said = bench.said
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
            session = Session(browser, address, runs, said.epochs, bench.docs)
            session.all()
        finally:
            browser.close()
            watcher.terminate()
            watcher.wait()
    bench.save(1, **session.seen)
    print(json.dumps(session.seen, indent=1))


if __name__ == "__main__":
    main()
