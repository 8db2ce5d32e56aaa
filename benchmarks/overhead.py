"""How much the library adds to a loop written by hand.

Permuted MNIST, 784-256-256-10, SGD, every task evaluated after each task (R with its untrained row), for fine-tuning and for
EWC, in one process and in turn: the library, the loop by hand, the library, ... The loop by hand holds its images as float
tensors that were permuted beforehand, outside the clock; the library does that within it. Both do the same arithmetic: the
same steps, the same closed-form penalty, the same exact Fisher, the same evaluation.

    python benchmarks/overhead.py [--pairs 7] [--threads 1] [--only fisher,finetune-128,ewc-128,finetune-10,ewc-10,training]

With --only, what was measured before of the others stays in the result's file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from environment import RESULTS, save
from lifelong import EWC, MAS, MLP, SI, Finetune, Method, RWalk, Training, fit, permuted
from lifelong.method import Costs, Edge
from lifelong.parts.fisher import fisher
from lifelong.stream import Stream, Tensors
from lifelong.vector import Vector

LR, STRENGTH = 0.1, 1.0


@dataclass
class ByHand:
    """The loop that one writes for one experiment."""

    train: list[tuple[Tensor, Tensor]]
    test: list[tuple[Tensor, Tensor]]
    batch: int

    def run(self, ewc: bool) -> list[list[float]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        params = list(net.parameters())
        optimizer = torch.optim.SGD(params, lr=LR)
        A = [torch.zeros_like(p) for p in params]
        m = [torch.zeros_like(p) for p in params]
        R = [self.evaluate(net)]
        for t, (x, y) in enumerate(self.train):
            for index in torch.randperm(len(x)).split(self.batch):
                optimizer.zero_grad()
                F.cross_entropy(net(x[index]), y[index]).backward()
                if ewc and t:
                    with torch.no_grad():
                        pull = torch._foreach_sub(params, m)
                        torch._foreach_addcmul_([p.grad for p in params], A, pull, value=STRENGTH)
                optimizer.step()
            if ewc:
                for i, F_new in enumerate(self.fisher(net, x)):
                    total = A[i] + F_new
                    mean = (A[i] * m[i] + F_new * params[i].detach()) / total.clamp(min=1e-38)
                    m[i] = torch.where(total > 0, mean, params[i].detach())
                    A[i] = total
            R.append(self.evaluate(net))
        return R

    @torch.no_grad()
    def fisher(self, net: nn.Sequential, x: Tensor) -> list[Tensor]:
        """The exact diagonal Fisher of a three-layer perceptron, backward by hand."""
        W1, b1, W2, b2, W3, b3 = net.parameters()
        out = [torch.zeros_like(p) for p in (W1, b1, W2, b2, W3, b3)]
        for h0 in x.split(512):
            h1 = torch.relu(F.linear(h0, W1, b1))
            h2 = torch.relu(F.linear(h1, W2, b2))
            q = F.linear(h2, W3, b3).softmax(1)
            s1, s2, s3 = (torch.zeros_like(h) for h in (h1, h2, q))
            for c in range(10):
                d3 = -q
                d3[:, c] += 1
                d2 = (d3 @ W3) * (h2 > 0)
                d1 = (d2 @ W2) * (h1 > 0)
                w = q[:, c, None]
                s3.addcmul_(d3.square(), w)
                s2.addcmul_(d2.square(), w)
                s1.addcmul_(d1.square(), w)
            for i, (s, h) in enumerate(((s1, h0), (s2, h1), (s3, h2))):
                out[2 * i].addmm_(s.T, h.square())
                out[2 * i + 1] += s.sum(0)
        return [o / len(x) for o in out]

    @torch.no_grad()
    def evaluate(self, net: nn.Module) -> list[float]:
        row = []
        for x, y in self.test:
            correct = sum((net(bx).argmax(1) == by).sum() for bx, by in zip(x.split(512), y.split(512)))
            row.append(int(correct) / len(y))
        return row


def seconds(f: Callable[[], object]) -> float:
    began = time.perf_counter()
    f()
    return time.perf_counter() - began


def pairs(ours: Callable[[], object], by_hand: Callable[[], object], n: int) -> dict[str, object]:
    """Ours and theirs in turn, each once beforehand; the ratio pair by pair."""
    ours(), by_hand()
    found = []
    for i in range(n):
        order = (ours, by_hand) if i % 2 == 0 else (by_hand, ours)
        took = {f: seconds(f) for f in order}
        found.append((took[ours], took[by_hand]))
        print(f"  {took[ours]:.2f} s against {took[by_hand]:.2f} s", file=sys.stderr)
    ratios = sorted(a / b for a, b in found)
    return {
        "ours": [a for a, _ in found],
        "by_hand": [b for _, b in found],
        "ratio_median": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
    }


def fisher_costs(stream: Stream, by_hand: ByHand, n: int) -> dict[str, float]:
    """Seconds of one training epoch of the loop by hand, and of the Fishers of as many examples (medians)."""
    net = MLP((256, 256))(stream.shape, 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    x, y = by_hand.train[0]

    def epoch() -> None:
        for index in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            F.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()

    def estimate(kind: str) -> None:
        draws = torch.Generator().manual_seed(0)
        edge = Edge(net, Vector.of(net), Tensors(x, y), None, 0, None, draws, lambda: None, Costs())
        with torch.no_grad():
            fisher(edge, kind)  # type: ignore[arg-type]

    work = {"epoch": epoch} | {k: (lambda k=k: estimate(k)) for k in ("empirical", "sampled", "exact")}
    took: dict[str, list[float]] = {k: [] for k in work}
    for _ in range(n):
        for k, f in work.items():
            took[k].append(seconds(f))
    return {k: statistics.median(v) for k, v in took.items()}


def step_costs(source: str, n: int) -> dict[str, dict[str, float]]:
    """Seconds of training (three tasks, without evaluation) of the methods that guard weights, over fine-tuning's."""
    stream = permuted(source, tasks=3, seed=0)
    methods = {"si": SI(0.1), "rwalk": RWalk(0.1), "ewc": EWC(STRENGTH, importance="empirical"), "mas": MAS(0.01)}

    def train(method: Method) -> float:
        [record] = fit(method, MLP((256, 256)), stream, training=Training(lr=LR, batch_size=128)).records.values()
        return float(sum(record.train_seconds[1:]))

    found: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(n):
        for name, method in methods.items():
            found[name].append(train(method) / train(Finetune()))
        print("  " + ", ".join(f"{k} {v[-1]:.2f}" for k, v in found.items()), file=sys.stderr)
    return {k: {"median": statistics.median(v), "min": min(v), "max": max(v), "pairs": n} for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--only", default="fisher,finetune-128,ewc-128,finetune-10,ewc-10,training")
    said = parser.parse_args()
    only = said.only.split(",")
    torch.set_num_threads(said.threads)
    path = RESULTS / "overhead.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results = {k: v for k, v in found.items() if isinstance(v, dict) and k != "versions"}

    def keep(key: str, value: object) -> None:
        results[key] = value
        save("overhead", said.threads, what="library / loop by hand", tasks=said.tasks, **results)

    for name, batch, examples in (
        ("batch 128, 60,000 images a task", 128, None),
        ("batch 10, 1,000 images a task", 10, 1000),
    ):
        methods: dict[str, Method] = {"finetune": Finetune(), "ewc": EWC(STRENGTH)}
        wanted = [m for m in methods if f"{m}-{batch}" in only]
        fishers = batch == 128 and "fisher" in only
        if not (wanted or fishers):
            continue
        stream = permuted(said.source, tasks=said.tasks, seed=0, examples=examples)

        def tensors(part: Tensors) -> tuple[Tensor, Tensor]:
            x, y, _ = part.take(torch.arange(len(part)))
            return x.flatten(1).contiguous(), y

        by_hand = ByHand([tensors(t.train) for t in stream], [tensors(t.test) for t in stream], batch)
        training = Training(lr=LR, batch_size=batch)
        if fishers:
            keep("fisher", fisher_costs(stream, by_hand, 5))
        for label in wanted:
            print(f"{name}, {label}", file=sys.stderr)
            ours = partial(fit, methods[label], MLP((256, 256)), stream, training=training)
            keep(f"{name}, {label}", pairs(ours, partial(by_hand.run, label == "ewc"), said.pairs))
        del by_hand
    if "training" in only:
        print("seconds of training over fine-tuning's", file=sys.stderr)
        keep("training", step_costs(said.source, said.pairs))
    for key, value in results.items():
        if "ratio_median" in value:
            print(f"{key}: {value['ratio_median']:.3f} ({value['ratio_min']:.3f} to {value['ratio_max']:.3f})")
    if "training" in results:
        print(
            "training over fine-tuning's:", ", ".join(f"{k} {v['median']:.2f}" for k, v in results["training"].items())
        )
    if "fisher" in results:
        costs = results["fisher"]
        print("fisher of as many examples as an epoch has, in epochs:", end=" ")
        print(", ".join(f"{k} {costs[k] / costs['epoch']:.2f}" for k in ("empirical", "sampled", "exact")))


if __name__ == "__main__":
    main()
