"""What a method draws after each task, kept beside its checkpoints: ``drawn/METHOD/SEED/AFTER.safetensors``.

Each file holds ``drawn`` and, to be compared with, ``real`` test inputs of the tasks learnt so far, ``[n, ...]`` both.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..core.files import write_atomically
from ..core.random import generator
from ..core.stream import Stream
from ..training.learner import Learner
from .run import Job

__all__ = ["save_samples"]

COUNT = 12


def save_samples(folder: Path, job: Job, learner: Learner, stream: Stream) -> None:
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
