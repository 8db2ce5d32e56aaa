"""How much the library adds to a loop written by hand.

Permuted MNIST, 784-256-256-10, SGD, every task evaluated after each task (R with its untrained row), for fine-tuning and for
EWC, in one process and in turn: the library, the loop by hand, the library, ... The loop by hand holds its images as float
tensors that were permuted beforehand, outside the clock; the library does that within it. Both do the same arithmetic: the
same steps, the same closed-form penalty, the same exact Fisher, the same evaluation.

    python benchmarks/overhead.py [--pairs 7] [--threads 1] [--only fisher,finetune-128,ewc-128,finetune-10,ewc-10,training]

With --only, what was measured before of the others stays in the result's file.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Benchmark, pairs, say, seconds
from lifelong import EWC, MAS, MLP, SI, Finetune, Method, RWalk, Training, fit, permuted
from lifelong.core.contexts import TaskContext
from lifelong.core.examples import Tensors
from lifelong.core.objective import Classification
from lifelong.core.stream import Stream
from lifelong.core.vector import Vector
from lifelong.parts.fisher import fisher

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
        held_to = Vector.of(net), Tensors(x, y), Classification()
        context = TaskContext(net, *held_to, 0, None, draws, lambda: None)
        with torch.no_grad():
            fisher(context, kind)  # type: ignore[arg-type]

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
        say("  " + ", ".join(f"{k} {v[-1]:.2f}" for k, v in found.items()))
    return {k: {"median": statistics.median(v), "min": min(v), "max": max(v), "pairs": n} for k, v in found.items()}


JOBS = (("batch 128, 60,000 images a task", 128, None), ("batch 10, 1,000 images a task", 10, 1000))
KNOWN = ("fisher", "training", *(f"{name}, {method}" for name, _, _ in JOBS for method in ("finetune", "ewc")))


def by_hand_on(stream: Stream, batch: int) -> ByHand:
    def tensors(part: Tensors) -> tuple[Tensor, Tensor]:
        x, y, _ = part.take(torch.arange(len(part)))
        return x.flatten(1).contiguous(), y

    return ByHand([tensors(t.train) for t in stream], [tensors(t.test) for t in stream], batch)


def tell(results: dict[str, Any]) -> None:
    for key, value in results.items():
        if "ratio_median" in value:
            say(f"{key}: {value['ratio_median']:.3f} ({value['ratio_min']:.3f} to {value['ratio_max']:.3f})")
    if "training" in results:
        say("training over fine-tuning's:", ", ".join(f"{k} {v['median']:.2f}" for k, v in results["training"].items()))
    if "fisher" in results:
        costs = results["fisher"]
        epochs = ", ".join(f"{k} {costs[k] / costs['epoch']:.2f}" for k in ("empirical", "sampled", "exact"))
        say("fisher of as many examples as an epoch has, in epochs:", epochs)


def main() -> None:
    bench = Benchmark("overhead", __doc__, pairs=7, source="mnist", threads=1)
    bench.flag("--tasks", type=int, default=10)
    bench.flag("--only", default="fisher,finetune-128,ewc-128,finetune-10,ewc-10,training")
    said = bench.said
    only = said.only.split(",")
    torch.set_num_threads(said.threads)
    results = {k: v for k, v in bench.before().items() if k in KNOWN}

    def keep(key: str, value: object) -> None:
        results[key] = value
        bench.save(said.threads, what="library / loop by hand", tasks=said.tasks, **results)

    for name, batch, examples in JOBS:
        methods: dict[str, Method] = {"finetune": Finetune(), "ewc": EWC(STRENGTH)}
        wanted = [m for m in methods if f"{m}-{batch}" in only]
        fishers = batch == 128 and "fisher" in only
        if not (wanted or fishers):
            continue
        stream = permuted(said.source, tasks=said.tasks, seed=0, examples=examples)
        by_hand = by_hand_on(stream, batch)
        training = Training(lr=LR, batch_size=batch)
        if fishers:
            keep("fisher", fisher_costs(stream, by_hand, 5))
        for label in wanted:
            say(f"{name}, {label}")
            ours = partial(fit, methods[label], MLP((256, 256)), stream, training=training)
            keep(f"{name}, {label}", pairs(ours, partial(by_hand.run, label == "ewc"), said.pairs))
        del by_hand
    if "training" in only:
        say("seconds of training over fine-tuning's")
        keep("training", step_costs(said.source, said.pairs))
    tell(results)


if __name__ == "__main__":
    main()
