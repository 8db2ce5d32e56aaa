"""The demo: the lecture's stories in their order, told from what is measured here and now.

Two corpora and forgetting; both at once, so that capacity is not the cause; three permuted tasks with plain SGD, L2 and EWC as in
figure 2A of the EWC paper (arXiv 1612.00796); the matrix R and three numbers; a small replay buffer. Text and pictures are made from
the claims of `lifelong.demo.claims`: where the numbers do not show something, they do not say it.

**The recipe.** What a demo shows on one processor must hold on all. Another order of summation changes the last bits of a step, and
training amplifies that until it is another run: so the recipe is one for which any run tells the same story. `benchmarks/demo_robust.py`
tries it with 30 seeds under six ways of calculating (docs/reliability.md). It is the usual recipe of both streams (`lifelong.core.registry`).

- Both parts train the same network, 784-200-200-10.
- Two corpora: Adam at 0.001, batches of 64, 8 epochs, the rate halved after 4. SGD at 0.1 spikes on the noisy corpus, whose inputs are far from
  centred: accuracy falls by up to 50 points from one epoch to the next, and where training ends is chance. Adam bounds each weight's step by
  the rate; halving it brings the end to rest. The noise is uniform between 0 and 0.5: as in the lecture, noisy digits are read less well than
  clean ones (86% and 91% of 3,000 images; the lecture has 60,000, and 90% and 97%).
- Permuted tasks: SGD, as the paper has it. A rate of 0.1 with momentum 0.9 learns, and forgets, within six epochs; the gradient is clipped at
  norm 1, so that no step is longer than the rate. L2 and EWC take their penalty implicitly, which with SGD is the same penalty, and diverges
  at no strength.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import RunError
from ..core.progress import say
from ..runs.progress_bars import Progress
from ..runs.spec import RunSpec
from .claims import Chosen, Stacks, claims, story

if TYPE_CHECKING:
    from ..runs.jobs import Tell
    from ..runs.run import Run

__all__ = ["CHOSEN", "CORPORA", "PERMUTED", "SCRIPT", "SEEDS", "SLOTS", "demo", "learn", "parts", "stacks", "write"]

SEEDS = (0, 1, 2, 3, 4)
SLOTS, MIXED = 200, 64  # of replay: examples kept, and those of them in a batch
SCRIPT = "benchmarks/demo_strengths.py"
CHOSEN = {  # strengths, and on held-out images the mean accuracy over the three tasks, that on A and that on C after C
    "ewc": Chosen(
        100.0,
        (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        (0.842, 0.872, 0.898, 0.904, 0.905, 0.903),
        (0.773, 0.836, 0.877, 0.889, 0.896, 0.898),
        (0.919, 0.916, 0.919, 0.913, 0.909, 0.904),
    ),
    "l2": Chosen(
        0.1,
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        (0.831, 0.859, 0.877, 0.873, 0.835, 0.757, 0.515),
        (0.762, 0.817, 0.877, 0.895, 0.903, 0.901, 0.902),
        (0.917, 0.915, 0.899, 0.873, 0.813, 0.708, 0.300),
    ),
}
CORPORA, PERMUTED = "two-corpora", "permuted"  # the directories of the parts
FILES = {CORPORA, PERMUTED, "story.json", "demo.png", "report.html"}
VARIES = (
    "{seeds} seeds vary the initial weights and the order of the examples; images, noise and permutations are the same for all. Intervals are "
    "95% (Student's t) over the seeds, differences are taken seed by seed. A claim is made only where each of its intervals lies whole above a "
    "fixed margin."
)


def parts(seeds: Sequence[int] = SEEDS, threads: int = 1) -> dict[str, RunSpec]:
    """The runs of the demo, by the names of their directories."""
    common = {
        "stream.source": "mnist-mini",
        "stream.seed": 0,  # seeds vary the initial weights and the order of examples; the data are the same
        "seeds": list(seeds),
        "threads": threads,
    }
    corpora = {
        "stream": "two_corpora",
        "stream.kind": "uniform",
        "stream.noise": 0.5,
        "method": "finetune,joint_once",
        "evaluate_every": 47,  # once an epoch
    }
    permuted = {
        "stream": "permuted",
        "stream.tasks": 3,
        "method": "finetune,l2,ewc,replay",
        "l2.strength": CHOSEN["l2"].value,
        "l2.implicit": True,
        "ewc.strength": CHOSEN["ewc"].value,
        "ewc.implicit": True,
        "replay.buffer_size": SLOTS,
        "replay.batch_size": MIXED,
        "evaluate_every": 24,  # once an epoch
    }
    return {name: RunSpec.from_keys(common | part) for name, part in ((CORPORA, corpora), (PERMUTED, permuted))}


def learn(config: RunSpec, folder: Path, jobs: int, tell: Tell = lambda message: None) -> Run:
    """A part, from where it was left.

    Raises:
        RunError: the directory is another run's; a job failed.
        KeyboardInterrupt: stopped; what was learnt is saved.
    """
    from ..runs.jobs import execute, recorded
    from ..runs.run import Job, Run

    again = (folder / "config.yaml").exists()
    if again and RunSpec.load(folder / "config.yaml") != config:
        raise RunError(f"{folder} holds another run: choose another --out, or remove it")
    work = [Job(method, seed) for method in config.methods for seed in config.seeds]
    records = {job: recorded(folder, job) for job in work} if again else {}
    if records and all(record is not None and record.complete for record in records.values()):
        run = Run.of(config.build_stream(config.seeds[0]))
        run.records = {job: record for job, record in records.items() if record is not None}
        run.write(folder)  # whoever learnt the last of it may not have come to that
        return run
    run, failed = execute(config, folder, jobs, tell, again=again)
    if failed:
        raise RunError(f"{failed[0].job.method}, seed {failed[0].job.seed}: {failed[0].text}")
    return run


def stacks(run: Run) -> Stacks:
    """R of each method, ``[seeds, T+1, T]``."""
    return {m: np.stack([run.matrix(m, seed).R for seed in run.seeds(m)]) for m in run.methods}


def demo(out: Path) -> int:
    """Runs the demo into the directory `out`, or goes on with it; gives the exit status."""
    began = time.monotonic()
    others = sorted({p.name for p in out.iterdir() if not p.name.startswith(".")} - FILES) if out.is_dir() else []
    if others or (out.exists() and not out.is_dir()):
        raise RunError(
            f"{out} is there already, and no demo{': it holds ' + others[0] if others else ''}: choose another --out"
        )
    say(f"demo     two streams, five methods, {len(SEEDS)} seeds: about a minute on two cores; no network is needed")
    say(f"out      {out} (Ctrl-C keeps what was learnt)")
    try:
        import torch

        torch.set_num_threads(1)
        jobs = cores()
        runs = {}
        for name, config in parts().items():
            stream = config.build_stream(0)
            say(
                f"learns   {name}: {', '.join(config.methods)}; {config.build_net()}; {jobs} process{'es' if jobs > 1 else ''}"
            )
            with Progress(len(config.methods) * len(config.seeds), len(stream)) as progress:
                runs[name] = learn(config, out / name, jobs, progress)
        say("writes   reports and pictures")
        told = write(out, runs)
    except KeyboardInterrupt:
        if not any((out / name / "config.yaml").exists() for name in parts()):
            raise  # nothing was learnt
        say(f"\nstopped; what was learnt is kept. Go on with: lifelong demo --out {out}")
        return 130
    for paragraph in told["paragraphs"]:
        print("\n".join([paragraph["title"], paragraph["text"], *(f"- {point}" for point in paragraph["points"]), ""]))
    say(f"{out / 'report.html'} ({time.monotonic() - began:.0f} s)")
    return 0


def cores() -> int:
    """Processes that the demo works in: as many as there are cores for them, but no more than help."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(free, len(SEEDS))


def write(out: Path, runs: dict[str, Run]) -> dict[str, Any]:
    """Writes the story of finished parts: their reports, story.json, demo.png and report.html; returns what story.json holds."""
    from .. import report
    from ..core.files import write_atomically
    from .pictures import page, poster

    configs = {name: RunSpec.load(out / name / "config.yaml") for name in runs}
    corpora, permuted = stacks(runs[CORPORA]), stacks(runs[PERMUTED])
    found = claims(corpora, permuted)
    mixed = (MIXED, configs[PERMUTED].build_training().batch_size)
    paragraphs = story(
        corpora, permuted, chosen=CHOSEN, slots=SLOTS, mixed=mixed, script=SCRIPT, commands=_commands(out)
    )
    seeds = configs[PERMUTED].seeds
    varies = VARIES.format(seeds=len(seeds))
    told: dict[str, Any] = {
        "title": "A network forgets, and is kept from forgetting",
        "unit": "points of accuracy, 0 to 100",
        "claims": [claim.as_json() for claim in found.values()],
        "paragraphs": [{"title": p.title, "text": p.text, "points": list(p.points)} for p in paragraphs],
        "seeds": list(seeds),
        "varies": varies,
        "strengths": {name: chosen._asdict() for name, chosen in CHOSEN.items()},
        "chosen by": SCRIPT,
    }
    for name in runs:
        report.write(out / name)
    epochs = {name: configs[name].build_training().epochs for name in runs}
    write_atomically(out / "demo.png", poster(runs[CORPORA], runs[PERMUTED], epochs, found))
    html = page(told["title"], varies, paragraphs, found, runs[CORPORA], runs[PERMUTED], epochs)
    write_atomically(out / "report.html", html)
    write_atomically(out / "story.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return told


def _commands(out: Path) -> list[tuple[str, str]]:
    """What to run next, and what for."""
    return [
        (f"lifelong watch {out}", "the runs in a browser"),
        (f"lifelong compare {out / PERMUTED} --out compared", "every measure of the methods, with paired differences"),
        (
            "lifelong run --stream permuted --method finetune,ewc,replay --ewc.strength 100 --ewc.implicit true --seeds 3 --jobs 2",
            "ten permutations, other methods",
        ),
        (
            "lifelong run --stream split --method finetune,ewc,replay --seeds 3 --jobs 2",
            "new classes in each task, where holding weights does not help and examples do",
        ),
        ("lifelong methods", "all methods, with their papers"),
    ]
