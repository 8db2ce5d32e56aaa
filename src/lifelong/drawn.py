"""What a method draws after each task, kept beside its checkpoints: ``drawn/METHOD/SEED/AFTER.safetensors``.

Each file holds ``drawn`` and, to be compared with, ``real`` test inputs of the tasks learnt so far, ``[n, ...]`` both.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import write_atomically
from .learner import Learner
from .random import generator
from .run import Job
from .stream import Stream

__all__ = ["keep", "kept"]

COUNT = 12


def keep(folder: Path, job: Job, learner: Learner, stream: Stream) -> None:
    """Writes what the learner's method draws now; nothing where it draws nothing."""
    from safetensors.torch import save

    after = learner.learnt
    draws = generator(job.seed, f"drawn/{after}", learner.device)
    drawn = None if learner.state is None else learner.method.sample(learner.state, COUNT, draws)
    if drawn is None:
        return
    pick = generator(job.seed, f"real/{after}")
    real = []
    for i in range(COUNT):
        test = stream[i % after].test
        row = torch.randint(len(test), (1,), generator=pick)
        real += [chunk.x for chunk in test.chunks(row, 1)]
    place = folder / "drawn" / job.method / str(job.seed) / f"{after:03d}.safetensors"
    write_atomically(place, save({"drawn": drawn.float().cpu().contiguous(), "real": torch.cat(real).float()}))


def kept(folder: Path, method: str) -> dict[int, tuple[Tensor, Tensor]]:
    """What `keep` wrote for a method's first seed: by the number of tasks learnt, what was drawn and what is real."""
    from safetensors.torch import load

    seeds = sorted((p for p in (folder / "drawn" / method).glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    if not seeds:
        return {}
    files = {int(p.stem): load(p.read_bytes()) for p in sorted(seeds[0].glob("*.safetensors"))}
    return {after: (f["drawn"], f["real"]) for after, f in files.items()}
