"""What a memory costs at batch 10, beside loops written by hand, and what GEM costs a step as tasks go by.

replay: permuted MNIST, ten tasks of 1,000 images, 784-256-256-10, batch 10 and 10 remembered, a reservoir of 500.
gem: the paper's job (arXiv 1706.08840): twenty permutations of 1,000 images, 784-100-100-10, batch 10, 256 memories a task, margin
0.5. The loop by hand takes one backward a past task, as the authors' code does, and solves the same small dual.
Both evaluate every task after each. One thread; the library and the loop in turn, in one process.
threads: the same job of GEM by the library alone, with two threads, as the authors' code was timed.

    LIFELONG_DATA=... python benchmarks/rehearsal.py [--pairs 7] [--gem-pairs 3] [--only replay,gem,threads]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Benchmark, pairs, say, seconds
from lifelong import GEM, MLP, Learner, Method, Replay, Stream, Training, fit, permuted
from lifelong.parts.gem_qp import dual
from lifelong.report import figures

LR, BATCH = 0.1, 10
TRAINING = Training(lr=LR, batch_size=BATCH)
Data = list[tuple[Tensor, Tensor]]


def evaluate(net: nn.Module, tests: Data) -> list[float]:
    with torch.no_grad():
        return [
            float(sum((net(bx).argmax(1) == by).sum() for bx, by in zip(x.split(512), y.split(512)))) / len(y)
            for x, y in tests
        ]


def network(hidden: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def replay_by_hand(train: Data, test: Data, slots: int) -> list[list[float]]:
    net = network(256)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    mx, my, seen = torch.zeros(slots, 784), torch.zeros(slots, dtype=torch.int64), 0
    R = [evaluate(net, test)]
    for x, y in train:
        for index in torch.randperm(len(x)).split(BATCH):
            bx, by = x[index], y[index]
            ax, ay = bx, by
            if seen:
                drawn = torch.randint(min(seen, slots), (BATCH,))
                ax, ay = torch.cat([bx, mx[drawn]]), torch.cat([by, my[drawn]])
            optimizer.zero_grad()
            F.cross_entropy(net(ax), ay).backward()
            optimizer.step()
            if seen + BATCH <= slots:
                mx[seen : seen + BATCH], my[seen : seen + BATCH] = bx, by
            else:
                slot = (torch.rand(BATCH) * torch.arange(seen + 1, seen + BATCH + 1)).long()
                kept = slot < slots
                mx[slot[kept]], my[slot[kept]] = bx[kept], by[kept]
            seen += BATCH
        R.append(evaluate(net, test))
    return R


def gem_by_hand(train: Data, test: Data, each: int, margin: float) -> list[list[float]]:
    net = network(100)
    params = list(net.parameters())
    optimizer = torch.optim.SGD(params, lr=LR)
    mx, my = torch.zeros(len(train), each, 784), torch.zeros(len(train), each, dtype=torch.int64)
    R = [evaluate(net, test)]
    for t, (x, y) in enumerate(train):
        count = 0
        for index in torch.randperm(len(x)).split(BATCH):
            bx, by = x[index], y[index]
            rows = []
            for k in range(t):
                g = torch.autograd.grad(F.cross_entropy(net(mx[k]), my[k]), params)
                rows.append(torch.cat([p.reshape(-1) for p in g]))
            optimizer.zero_grad()
            F.cross_entropy(net(bx), by).backward()
            if rows:
                G, g = torch.stack(rows), torch.cat([p.grad.reshape(-1) for p in params])
                products = (G @ g).double().numpy()
                if (products < 0).any():
                    v = dual((G @ G.T).double().numpy(), products, margin)
                    new = g + torch.from_numpy(v).float() @ G
                    for p, part in zip(params, new.split([p.numel() for p in params])):
                        p.grad.copy_(part.view_as(p))
            optimizer.step()
            places = (count + torch.arange(BATCH)) % each
            mx[t, places], my[t, places] = bx, by
            count += BATCH
        R.append(evaluate(net, test))
    return R


def tensors(part: Any) -> tuple[Tensor, Tensor]:
    x, y, _ = part.take(torch.arange(len(part)))
    return x.flatten(1).contiguous(), y


def by_task(stream: Any) -> list[float]:
    """Milliseconds a step of GEM in each task."""
    net = MLP((100, 100))(stream.shape, stream.outputs)
    learner = Learner(net, GEM(), TRAINING, scenario="domain")
    found = []
    for task in stream:
        began = time.perf_counter()
        learner.learn(task)
        found.append(1000 * (time.perf_counter() - began) / (len(task.train) / BATCH))
    return found


def draw(milliseconds: list[float]) -> bytes:
    with figures.drawing():
        figure = figures.new(7.6, 3.4)
        ax = figure.subplots()
        ax.plot(range(len(milliseconds)), milliseconds, marker="o", ms=5, color="#0072B2")
        ax.set(xlabel="past tasks, each with 256 memories", ylabel="milliseconds a step of GEM", ylim=(0, None))
        ax.set_xticks(range(0, len(milliseconds), 2))
        ax.grid(axis="y")
    return figures.png(figure)


PARTS = ("replay", "gem", "gem_step_milliseconds", "gem_two_threads")


def in_turn(method: Method, net: MLP, stream: Stream, by_hand: Callable[..., object], n: int) -> dict[str, object]:
    """The library and the loop by hand, with the same images."""
    train, test = [tensors(t.train) for t in stream], [tensors(t.test) for t in stream]
    ours = partial(fit, method, net, stream, training=TRAINING)
    return pairs(ours, partial(by_hand, train, test), n)


def two_threads(stream: Stream, n: int) -> list[float]:
    """Seconds of GEM's job by the library alone."""
    torch.set_num_threads(2)
    found = [seconds(lambda: fit(GEM(256, 0.5), MLP((100, 100)), stream, training=TRAINING)) for _ in range(n)]
    say("gem, two threads:", [round(s, 1) for s in found])
    return found


def main() -> None:
    bench = Benchmark("rehearsal", __doc__, pairs=7, source="mnist", draws=True)
    bench.flag("--gem-pairs", type=int, default=3)
    bench.flag("--gem-tasks", type=int, default=20)
    bench.flag("--only", default="replay,gem,threads")
    said = bench.said
    torch.set_num_threads(1)
    results: dict[str, Any] = {k: v for k, v in bench.before().items() if k in PARTS}
    if said.draw:
        bench.picture("gem-steps.png", draw(results["gem_step_milliseconds"]))
        return
    if "replay" in said.only:
        stream = permuted(said.source, tasks=10, seed=0, examples=1000)
        by_hand = partial(replay_by_hand, slots=500)
        results["replay"] = in_turn(Replay(500), MLP((256, 256)), stream, by_hand, said.pairs)
        bench.save(1, **results)
    stream = permuted(said.source, tasks=said.gem_tasks, seed=0, examples=1000)
    if "gem" in said.only:
        by_hand = partial(gem_by_hand, each=256, margin=0.5)
        results["gem"] = in_turn(GEM(256, 0.5), MLP((100, 100)), stream, by_hand, said.gem_pairs)
        results["gem_step_milliseconds"] = by_task(stream)
        bench.picture("gem-steps.png", draw(results["gem_step_milliseconds"]))
        bench.save(1, **results)
    if "threads" in said.only:
        results["gem_two_threads"] = two_threads(stream, said.gem_pairs)
        bench.save(1, **results)
    for key in ("replay", "gem"):
        if key in results:
            r = results[key]
            ratio = f"{r['ratio_median']:.3f} ({r['ratio_min']:.3f} to {r['ratio_max']:.3f})"
            say(f"{key}: {ratio}, ours {np.median(r['ours']):.1f} s")


if __name__ == "__main__":
    main()
