"""GEM's projection, drawn from real gradients: g, the gradients g₁ and g₂ of two past tasks, and the projected g̃.

Rotated MNIST (or the images that come with the package), three tasks of 1,000, 784-100-100-10, SGD 0.1, batch 10, 256 memories a task. While
the third task is learnt, the step is shown at which g is most against both past tasks. The three gradients span a space of three dimensions,
which holds g̃ = g + Gᵀv as well: they are drawn in it as they are, each at length 1.

    python benchmarks/gem_angles.py [--source mnist]
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from harness import Benchmark, say
from lifelong import GEM, MLP, Training, rotated
from lifelong.core.vector import Vector
from lifelong.parts.group_gradients import gradients
from lifelong.report import figures
from lifelong.training.build import learner_for

NAMES = ("g", "g₁", "g₂", "g̃")


def steepest(source: str) -> tuple[int, list[torch.Tensor]]:
    """The step of the third task at which g is most against both past tasks, and the four directions then."""
    stream = rotated(source, tasks=3, examples=1000, seed=0)
    method = GEM(256, margin=0.0)
    learner = learner_for(method, MLP((100, 100)), stream, Training(lr=0.1, batch_size=10), seed=0)
    for task in stream.tasks[:2]:
        learner.learn(task)
    learner.enter(stream[2])
    x, y, _ = next(stream[2].train.all(1000))
    context = learner.stepper.context
    worst, shown = 0.0, None
    for step, (bx, by) in enumerate(zip(x.split(10), y.split(10)), start=1):
        loss = F.cross_entropy(learner.net(bx), by)
        g = Vector(learner.theta.names, torch.autograd.grad(loss, learner.theta.tensors))
        with torch.no_grad():
            memory = learner.state.memory
            sizes = [n for n in memory.groups if n]
            G = gradients(context, learner.state.segment(memory.take(torch.arange(sum(sizes)))), sizes)
            new = method.gradient(learner.state, g.clone(), context)
            units = [
                v / v.norm()
                for v in (g.flat(), *(Vector(G.names, [t[k] for t in G.tensors]).flat() for k in range(2)), new.flat())
            ]
            against = max(float(units[0] @ units[k]) for k in (1, 2))
            if against < worst:
                worst, shown = against, (step, [u.double() for u in units])
            for p, t in zip(learner.theta.tensors, new.tensors):
                p.sub_(0.1 * t)
    if shown is None:
        raise SystemExit("no step of the third task was against both past tasks: try another source")
    return shown


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.acos(float(a @ b / a.norm() / b.norm())))


def draw(vectors: list[torch.Tensor]) -> bytes:
    """The directions in the space that the three gradients span."""
    spanned = torch.stack([vectors[1], vectors[2], vectors[0]], 1).numpy()
    basis = np.linalg.qr(spanned)[0]
    basis *= np.sign(basis.T @ spanned).diagonal()
    with figures.drawing():
        figure = figures.new(5.2, 4.6)
        ax = figure.add_subplot(projection="3d")
        for name, v, colour in zip(NAMES, vectors, ("#1b1b1b", "#D55E00", "#E69F00", "#0072B2")):
            tip = basis.T @ v.numpy()
            ax.quiver(0, 0, 0, *tip, color=colour, lw=2.2, arrow_length_ratio=0.12)
            ax.text(*(1.12 * tip), name, color=colour, fontsize=13, ha="center", va="center")
        corners = np.array([[0, 0, 0], basis.T @ vectors[1].numpy(), basis.T @ vectors[2].numpy()])
        ax.plot_trisurf(*corners.T, color="#dadada", alpha=0.4)
        ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(0, 1), box_aspect=(2, 2, 1.2), xticks=[], yticks=[], zticks=[])
        ax.view_init(elev=18, azim=-50)
    return figures.png(figure)


def main() -> None:
    bench = Benchmark("gem_angles", __doc__, source="mnist-mini")
    said = bench.said
    torch.set_num_threads(1)
    step, vectors = steepest(said.source)
    angles = {f"{NAMES[a]}, {NAMES[b]}": angle(vectors[a], vectors[b]) for a in range(4) for b in range(a)}
    bench.picture("gem-angles.png", draw(vectors))
    bench.save(1, source=said.source, step=step, degrees=angles)
    say({k: round(v, 1) for k, v in angles.items()})


if __name__ == "__main__":
    main()
