"""The demo: one network learns two digit corpora in turn, forgets, is kept from forgetting, and is measured.

It tells the story in the order of the lecture, and the text comes from the numbers: where they disagree with the story it
says so.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config
from .matrix import Interval, interval, paired

__all__ = ["demo", "story"]

SEEDS = (0, 1, 2, 3, 4)
GRIDS = {"l2": (0.1, 1.0, 10.0), "ewc": (10.0, 100.0, 1000.0)}
JOBS = 2


def demo(out: Path) -> int:
    """Runs the demo into the directory `out`; gives the exit status."""
    import torch

    from . import report
    from .jobs import execute, refuse
    from .methods import EWC, L2
    from .progress import Progress
    from .tune import choose_each

    began = time.monotonic()
    refuse(out)
    base = Config.from_keys({"stream": "two_corpora", "threads": 1})
    torch.set_num_threads(1)
    stream = base.build_stream(0)
    print(f"data   {stream.source}\nnet    {base.build_net()}\nout    {out}", file=sys.stderr)
    net, training = base.build_net(), base.build_training()
    makers: dict[str, Any] = {"l2": partial(L2, implicit=True), "ewc": partial(EWC, implicit=True)}
    candidates = {name: (makers[name], grid) for name, grid in GRIDS.items()}
    chosen = choose_each(candidates, net, stream, training, seeds=(1000,), fraction=0.2, jobs=JOBS)
    for name, choice in chosen.items():
        print(f"strength of {name} chosen on held-out training data: {choice}", file=sys.stderr)
    config = Config.from_keys(
        {
            "stream": "two_corpora",
            "method": "finetune,joint,l2,ewc",
            "seeds": list(SEEDS),
            "threads": 1,
            **{f"{name}.strength": choice.value for name, choice in chosen.items()},
            **{f"{name}.implicit": True for name in chosen},
        }
    )
    try:
        with Progress(len(config.methods) * len(SEEDS), len(stream)) as progress:
            run, failed = execute(config, out, jobs=JOBS, tell=progress)
    except KeyboardInterrupt:
        print(f"\nstopped. Go on with: lifelong resume {out}", file=sys.stderr)
        return 130
    if failed:
        print(f"lifelong: {failed[0].text}", file=sys.stderr)
        return 1
    R = {m: np.stack([run.matrix(m, s).R for s in SEEDS]) for m in run.methods}
    told = story(R, {name: choice._asdict() for name, choice in chosen.items()})
    (out / "story.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    for paragraph in told["paragraphs"]:
        print(paragraph["text"] + "\n")
    print(report.as_text(report.read(out)))
    print(f"{report.write(out)} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return 0


def story(R: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The story that the matrices ``R[method] [seeds, 3, 2]`` tell, paragraph by paragraph."""

    def at(method: str, after: int, on: int) -> Interval:
        return interval(R[method][:, after, on - 1])

    def change(method: str, on: int) -> Interval:
        return paired(R[method][:, 2, on - 1], R[method][:, on, on - 1])

    free, joint = "finetune", "joint"
    lost = change(free, 1)
    forgot = lost.mean + (lost.half if lost.n > 1 else 0) < 0
    gap = [at(joint, 2, j).mean - at(free, j, j).mean for j in (1, 2)]
    enough = min(gap) > -0.02
    paragraphs = [
        {
            "text": f"One network with three layers of 50 units learns corpus 1, noisy digits, and then corpus 2, the same digits "
            f"clean. Untrained it answers {_pc(at(free, 0, 1))} of corpus 1 rightly. After corpus 1 it answers "
            f"{_pc(at(free, 1, 1))} of corpus 1, and {_pc(at(free, 1, 2))} of corpus 2, which it has never seen.",
        },
        {
            "text": f"Then it learns corpus 2, and nothing is done against forgetting: corpus 2 goes to {_pc(at(free, 2, 2))}, and "
            f"corpus 1 from {_pc(at(free, 1, 1))} to {_pc(at(free, 2, 1))}. "
            + (
                f"It has forgotten {100 * -lost.mean:.1f} ± {100 * lost.half:.1f} points of corpus 1."
                if forgot
                else f"On these data it has not clearly forgotten corpus 1 ({_points(lost)}); the story would have it otherwise."
            ),
            "figure": "curves",
        },
        {
            "text": f"Is the network too small for both? Trained on both corpora at once, the same network answers "
            f"{_pc(at(joint, 2, 1))} of corpus 1 and {_pc(at(joint, 2, 2))} of corpus 2. "
            + (
                "So capacity is not the cause: it can hold both, it only does not keep the first."
                if enough
                else "That is below what it reaches on each alone, so here capacity is part of the cause."
            ),
        },
    ]
    words = []
    for name, title in (
        ("l2", "L2, which holds every weight alike,"),
        ("ewc", "EWC, which holds a weight by its Fisher information,"),
    ):
        kept = paired(R[name][:, 2, 0], R[free][:, 2, 0])
        learnt = paired(R[name][:, 2, 1], R[free][:, 2, 1])
        verdict = (
            f"beside fine-tuning that is {_points(kept)} on corpus 1"
            + _clear(kept)
            + f" and {_points(learnt)} on corpus 2"
        )
        verdict += _clear(learnt)
        edge = chosen[name]["value"] in (chosen[name]["grid"][0], chosen[name]["grid"][-1])
        words.append(
            f"{title} at strength {chosen[name]['value']:g} (chosen from {', '.join(f'{g:g}' for g in chosen[name]['grid'])} on "
            f"held-out training data{'; the edge of that grid, so a better one may lie beyond' if edge else ''}) ends at "
            f"{_pc(at(name, 2, 1))} and {_pc(at(name, 2, 2))}; {verdict}."
        )
    over = paired(R["ewc"][:, 2].mean(1), R["l2"][:, 2].mean(1))
    words.append(
        f"EWC's average is {_points(over)} from L2's on the same seeds"
        + (
            "."
            if abs(over.mean) > over.half
            else ", no difference that these seeds could tell; on two corpora as alike as these the "
            "kind of guard matters little (permuted digits show more: lifelong run --stream permuted)."
        )
    )
    paragraphs.append({"text": " ".join(words), "figure": "surfaces"})
    acc = {m: interval(R[m][:, 2].mean(1)) for m in R}
    bwt = {m: interval(R[m][:, 2, 0] - R[m][:, 1, 0]) for m in R}
    fwt = {m: interval(R[m][:, 1, 1] - R[m][:, 0, 1]) for m in R}
    paragraphs.append(
        {
            "text": "All of it stands in the matrix R, a row for the untrained network and one after each corpus. Three numbers sum it "
            "up, fine-tuning's beside EWC's: "
            + "; ".join(
                f"{word} {100 * of[free].mean:.1f} and {100 * of['ewc'].mean:.1f}"
                for word, of in (("average accuracy", acc), ("backward transfer", bwt), ("forward transfer", fwt))
            )
            + " (in points).",
            "figure": "heat",
        }
    )
    return {"title": "Learning two corpora in turn", "paragraphs": paragraphs, "strengths": chosen}


def _pc(value: Interval) -> str:
    return f"{100 * value.mean:.1f}%" + (f" (± {100 * value.half:.1f})" if value.n > 1 else "")


def _clear(value: Interval) -> str:
    return " (which these seeds cannot tell from nothing)" if value.n > 1 and abs(value.mean) <= value.half else ""


def _points(value: Interval) -> str:
    return f"{100 * value.mean:+.1f}" + (f" ± {100 * value.half:.1f}" if value.n > 1 else "") + " points"
