"""What a memory costs at batch 10, beside loops written by hand, and what GEM costs a step as tasks go by.

replay: permuted MNIST, ten tasks of 1,000 images, 784-256-256-10, batch 10 and 10 remembered, a reservoir of 500.
gem: the paper's job (arXiv 1706.08840): twenty permutations of 1,000 images, 784-100-100-10, batch 10, 256 memories a task, margin
0.5. The loop by hand takes one backward a past task, as the authors' code does, and solves the same small dual.
Both evaluate every task after each. One thread; the library and the loop in turn, in one process.
threads: the same job of GEM by the library alone, with two threads, as the authors' code was timed.

    LIFELONG_DATA=... python benchmarks/rehearsal.py [--pairs 7] [--gem-pairs 3] [--only replay,gem,threads]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from environment import DOCS, RESULTS, save
from lifelong import GEM, MLP, Learner, Replay, Training, fit, permuted
from lifelong.parts.dual import dual
from lifelong.report import figures
from overhead import pairs

LR, BATCH = 0.1, 10
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
    learner = Learner(net, GEM(), Training(lr=LR, batch_size=BATCH), scenario="domain")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--gem-pairs", type=int, default=3)
    parser.add_argument("--gem-tasks", type=int, default=20)
    parser.add_argument("--only", default="replay,gem,threads")
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--draw", action="store_true", help="draw the picture again from results/, and measure nothing")
    said = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "rehearsal.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results = {k: v for k, v in found.items() if k in ("replay", "gem", "gem_step_milliseconds", "gem_two_threads")}
    if said.draw:
        (DOCS / "gem-steps.png").write_bytes(draw(found["gem_step_milliseconds"]))
        return
    training = Training(lr=LR, batch_size=BATCH)
    if "replay" in said.only:
        stream = permuted(said.source, tasks=10, seed=0, examples=1000)
        train, test = [tensors(t.train) for t in stream], [tensors(t.test) for t in stream]
        ours = partial(fit, Replay(500), MLP((256, 256)), stream, training=training)
        results["replay"] = pairs(ours, partial(replay_by_hand, train, test, 500), said.pairs)
        save("rehearsal", 1, **results)
    if "gem" in said.only:
        stream = permuted(said.source, tasks=said.gem_tasks, seed=0, examples=1000)
        train, test = [tensors(t.train) for t in stream], [tensors(t.test) for t in stream]
        ours = partial(fit, GEM(256, 0.5), MLP((100, 100)), stream, training=training)
        results["gem"] = pairs(ours, partial(gem_by_hand, train, test, 256, 0.5), said.gem_pairs)
        results["gem_step_milliseconds"] = by_task(stream)
        (DOCS / "gem-steps.png").write_bytes(draw(results["gem_step_milliseconds"]))
        save("rehearsal", 1, **results)
    if "threads" in said.only:
        stream = permuted(said.source, tasks=said.gem_tasks, seed=0, examples=1000)
        torch.set_num_threads(2)
        seconds = []
        for _ in range(said.gem_pairs):
            began = time.perf_counter()
            fit(GEM(256, 0.5), MLP((100, 100)), stream, training=training)
            seconds.append(time.perf_counter() - began)
        results["gem_two_threads"] = seconds
        print("gem, two threads:", [round(s, 1) for s in seconds], file=sys.stderr)
        save("rehearsal", 1, **results)
    for key in ("replay", "gem"):
        if key in results:
            v = results[key]
            print(
                f"{key}: {v['ratio_median']:.3f} ({v['ratio_min']:.3f} to {v['ratio_max']:.3f}), ours {np.median(v['ours']):.1f} s",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
