"""Digits that generative replay draws after each of five tasks, beside real ones: docs/drawn.png.

Split MNIST, new classes, 784-400-400, a VAE 400-400 with a code of 100, Adam 0.001, batch 128, 1,000 steps a task, one seed.

    python benchmarks/drawn.py [--source mnist-mini] [--iterations 1000]
"""

from __future__ import annotations

import torch

from harness import Benchmark, say
from lifelong import MLP, GenerativeReplay, Training, split
from lifelong.core.random import generator
from lifelong.report import figures
from lifelong.training.build import learner_for

COUNT = 12


def main() -> None:
    bench = Benchmark("drawn", __doc__, source="mnist-mini")
    bench.flag("--iterations", type=int, default=1000)
    said = bench.said
    torch.set_num_threads(1)
    stream = split(said.source, tasks=5, scenario="class")
    method = GenerativeReplay(hidden=(400, 400), code=100, generator_lr=0.001)
    training = Training("adam", lr=0.001, batch_size=128, iterations=said.iterations)
    learner = learner_for(method, MLP((400, 400)), stream, training, seed=0)
    rows = {}
    for k, task in enumerate(stream):
        learner.learn(task)
        drawn = method.sample(learner.state, COUNT, generator(0, f"drawn/{k}"))
        assert drawn is not None
        rows[f"after {task.name}"] = drawn
        say(task.name, [round(a, 3) for a, _, _ in learner.evaluate(stream)])
    real = [next(stream[k % 5].test.chunks(torch.tensor([k]), 1)).x for k in range(COUNT)]
    figure = figures.images({name: x.float().numpy() for name, x in {**rows, "real": torch.cat(real)}.items()})
    bench.picture("drawn.png", figures.png(figure))


if __name__ == "__main__":
    main()
