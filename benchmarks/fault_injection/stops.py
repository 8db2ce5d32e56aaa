"""Runs that are killed, told to stop, or begun twice."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from fault_injection.processes import MINUTE, PHASE, PHASES, call, ended, forked, watch_phases
from fault_injection.trials import Bench, Tally, compare, config_of, learn, outcome
from lifelong.cli import main as command_line
from lifelong.runs.spec import RunSpec

FLAGS = [  # a run of two methods on the command line
    *("--stream", "split", "--stream.source", "digits", "--stream.tasks", "3", "--stream.seed", "0"),
    *("--method", "ewc,l2", "--ewc.strength", "10", "--net.hidden", "32", "--optimizer", "adam", "--lr", "0.003"),
    *("--epochs", "2", "--batch_size", "32", "--threads", "1", "--every", "0"),
]


def kills(bench: Bench, each: int, methods: list[str]) -> Tally:
    """SIGKILL at random moments, up to three in one run."""
    tally, phases, by_method = Tally(), Counter[str](), dict[str, int]()
    for method in methods:
        config = config_of(method)
        _, reference, seconds = bench.reference(config)
        killed = 0
        while killed < each:
            folder, here = bench.fresh(), 0
            for _ in range(bench.rng.randint(1, 3)):
                pid = forked(lambda: learn(config, folder), bench.said())  # noqa: B023
                time.sleep(bench.rng.uniform(0, seconds))
                where = PHASE[0]
                os.kill(pid, signal.SIGKILL)
                how = ended(pid)
                if how == "signal 9":
                    here += 1
                    phases[list(PHASES)[where] if where < len(PHASES) else "between"] += 1
                    tally.end(how, bench.said().read_text(errors="replace"))
                if killed + here == each:
                    break
            killed += here
            bench.finish(config, folder, reference, tally)
        by_method[method] = killed
        other = replace(config, seeds=(1,))  # a comparison that finds nothing must be able to find something
        control = Tally()
        compare(reference, bench.reference(other)[0], control)
        if not control.differing:
            tally.lost.append(f"{method}: another seed ends on the same bits")
    tally.more = {"by_method": by_method, "by_phase": dict(phases.most_common())}
    return tally


def twice(bench: Bench) -> Tally:
    """A directory entered by several processes at once: one learns, the others say that it is in use."""
    config, tally = config_of("ewc"), Tally()
    _, reference, _ = bench.reference(config)
    for _ in range(max(1, bench.cases // 5)):
        folder = bench.fresh()
        said = [bench.place / f"said{i}" for i in range(6)]
        pids = [forked(lambda: learn(config, folder), path) for path in said]  # noqa: B023
        for pid, path in zip(pids, said):
            how, text = ended(pid), path.read_text()
            refused = "in use" in text or "is there already" in text
            tally.end(how, text, how == "status 0" or (how == "status 1" and refused))
        bench.finish(config, folder, reference, tally)
    return tally


def terms(bench: Bench) -> Tally:
    """SIGTERM in each phase, and at random moments, to the command line: it ends in order, and goes on."""
    study, several = Terms(bench), bench.cases > 5
    for phase in PHASES:
        for nth in (1, 2, 5) if several else (1,):
            study.in_phase(phase, nth)
    if several:
        study.with_two_processes()
    for _ in range(bench.cases):
        study.at_a_random_moment()
    return study.tally


class Terms:
    """A command that is told to stop, and then gone on with; compared with one that nobody touched."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.tally, self.whole = bench, Tally(), bench.fresh()
        began = time.monotonic()
        how, said = call(lambda: self.begin(self.whole), bench.said())
        self.seconds, self.reference = time.monotonic() - began, outcome(self.whole)
        if how != "status 0":
            raise RuntimeError(said)

    def begin(self, folder: Path, *more: str) -> int:
        return command_line(["run", *FLAGS, *more, "--out", str(folder)])

    def go_on(self, folder: Path, phase: str = "") -> None:
        made = (folder / "config.yaml").exists()
        with_report = made and phase == "reporting"  # which takes longer than all else
        config = RunSpec.load((folder if made else self.whole) / "config.yaml")
        how, said = call(
            lambda: command_line(["resume", str(folder)]) if with_report else learn(config, folder), self.bench.said()
        )
        if how != "status 0" or (with_report and not (folder / "report.html").exists()):
            self.tally.lost.append(f"{how}: {said[-800:]}")
        compare(self.reference, folder, self.tally)
        shutil.rmtree(folder)

    def in_phase(self, phase: str, nth: int) -> None:
        """When the phase is entered for the n-th time, if it is."""
        folder = self.bench.fresh()
        sent = folder.with_suffix(".sent")

        def work() -> int:
            left = nth

            def enter(name: str) -> None:
                nonlocal left
                left -= name == phase
                if not left:
                    sent.touch()
                    left = -1
                    os.kill(os.getpid(), signal.SIGTERM)

            watch_phases(enter)
            return self.begin(folder)

        how, said = call(work, self.bench.said())
        if sent.exists():
            in_order = how == "status 130" and "stopped" in said
            # what writes the report is finished, and then all is
            self.tally.end(f"{how}, {phase}", said, how == "status 0" if phase == "reporting" else in_order)
        self.go_on(folder, phase)

    def with_two_processes(self) -> None:
        """Of which the first is told."""
        folder = self.bench.fresh()
        pid = forked(lambda: self.begin(folder, "--jobs", "2"), self.bench.said())
        late = time.monotonic() + MINUTE
        while not any((folder / "checkpoint").glob("*/*/[0-9]*")) and time.monotonic() < late:
            time.sleep(0.02)
        os.kill(pid, signal.SIGTERM)
        how, said = ended(pid), self.bench.said().read_text()
        self.tally.end(f"{how}, two processes", said, how == "status 130" and "stopped" in said)
        self.go_on(folder)

    def at_a_random_moment(self) -> None:
        folder = self.bench.fresh()
        pid = forked(lambda: self.begin(folder), self.bench.said())
        time.sleep(self.bench.rng.uniform(0.02, self.seconds))
        os.kill(pid, signal.SIGTERM)
        how, said = ended(pid), self.bench.said().read_text()
        # before the command has begun to listen, or when it is done, there is nothing to end in order
        self.tally.end(f"{how}, at a random moment", said, how in ("status 130", "status 0", "signal 15"))
        self.go_on(folder)
