"""Growth on demand with GEM on a curriculum of copying (Sodhani, Chandar & Bengio, arXiv 1811.07017), in a small version.

A level shows a sequence of random bits, then asks for it: 3 steps of 4 bits, 5 of 5, 7 of 6, 9 of 7, 11 of 8. An LSTM is trained on a level
for some steps; it passes if its mean bit accuracy over the last hundred batches is above 0.8. If it fails, and may still grow, it is
widened by Net2Net from 32 to 64 units and trained on that level once more; if it fails then, it stops. After each level every level is
measured. Four learners: large with GEM, small with GEM and Net2Net, small with Net2Net, large alone.

The authors' network has peepholes, 128 and 256 units, bits fixed at 8, lengths to 73 and up to 20,000 steps a level, four times as many
after growing, with a new Adam and noise on all units; here Adam's moments follow and noise is on the copies. As there GEM's memory is
one batch of ten sequences a level, and gradients are clipped at ±10.

    python benchmarks/copy_curriculum.py [--seeds 3] [--steps 1500]
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Benchmark, over_seeds, plain, say
from lifelong import Training
from lifelong.core.growth import carry_moments
from lifelong.core.random import derive, generator
from lifelong.core.vector import Vector
from lifelong.nets import widen
from lifelong.parts.gem_qp import dual

LEVELS = ((4, 3), (5, 5), (6, 7), (7, 9), (8, 11))  # bits, length
BITS, BATCH, PASS, SMALL, LARGE, MARGIN = 8, 10, 0.8, 32, 64, 0.5
ARMS = {
    "large+GEM": (LARGE, True, False),
    "small+GEM+Net2Net": (SMALL, True, True),
    "small+Net2Net": (SMALL, False, True),
    "large": (LARGE, False, False),
}


class Copier(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(BITS + 1, units, batch_first=True), nn.Linear(units, BITS)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0])


def draw(level: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs ``[B, 2L + 1, 9]``, the last channel being the sign to answer, and the bits ``[B, L, bits]``."""
    bits, length = LEVELS[level]
    y = torch.randint(2, (BATCH, length, bits), generator=draws).float()
    x = torch.zeros(BATCH, 2 * length + 1, BITS + 1)
    x[:, :length, :bits] = y
    x[:, length, BITS] = 1
    return x, y


def logits(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return net(x)[:, -y.shape[1] :, : y.shape[2]]


def right(f: Tensor, y: Tensor) -> float:
    return float(((f > 0) == (y > 0.5)).float().mean())


class Learner:
    """A network on its way through the levels, with GEM's memory of one batch a level."""

    def __init__(self, units: int, seed: int, lr: float) -> None:
        torch.manual_seed(derive(seed, "weights"))
        self.net, self.seed, self.training = Copier(units), seed, Training("adam", lr=lr)
        self.optimizer = self.training.build(self.net)
        self.memory: list[tuple[Tensor, Tensor]] = []

    def gradient(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        f = logits(self.net, x, y)
        loss = F.binary_cross_entropy_with_logits(f, y)
        return list(torch.autograd.grad(loss, list(self.net.parameters()))), f.detach()

    def projected(self, g: list[Tensor], level: int) -> list[Tensor]:
        """The gradient that no earlier level minds, as GEM has it."""
        kept = self.memory[:level]
        past = torch.stack([torch.cat([t.flatten() for t in self.gradient(*batch)[0]]) for batch in kept])
        row = torch.cat([t.flatten() for t in g])
        products = (past @ row).double().numpy()
        if not (products < 0).any():
            return g
        v = torch.from_numpy(dual((past @ past.T).double().numpy(), products, MARGIN)).float()
        row = row + v @ past
        return [p.view_as(t) for p, t in zip(row.split([t.numel() for t in g]), g)]

    def train(self, level: int, round_: int, steps: int, remembers: bool) -> float:
        """The mean bit accuracy over the last hundred batches."""
        draws = generator(self.seed, f"level/{level}/{round_}")
        latest: deque[float] = deque(maxlen=100)
        for _ in range(steps):
            x, y = draw(level, draws)
            g, f = self.gradient(x, y)
            if remembers and level:
                g = self.projected(g, level)
            for p, t in zip(self.net.parameters(), g):
                p.grad = t.clamp(-10, 10)
            self.optimizer.step()
            latest.append(right(f, y))
            self.memory[level:] = [(x, y)]
        return float(np.mean(latest))

    def grow(self, noise: float) -> None:
        old, moments = Vector.of(self.net), self.optimizer.state_dict()
        mapping = widen(self.net, "lstm", LARGE, seed=derive(self.seed, "grow"), noise=noise)
        self.optimizer = self.training.build(self.net)
        self.optimizer.load_state_dict(carry_moments(moments, old, Vector.of(self.net), mapping))

    @torch.no_grad()
    def measure(self, level: int) -> list[float]:
        """Bit accuracy at every level, after this one."""
        draws, row = generator(self.seed, f"test/{level}"), []
        for other in range(len(LEVELS)):
            batches = [draw(other, draws) for _ in range(20)]
            row.append(float(np.mean([right(logits(self.net, x, y), y) for x, y in batches])))
        return row


def learn(arm: str, seed: int, steps: int, lr: float, noise: float) -> dict[str, object]:
    units, remembers, grows = ARMS[arm]
    learner = Learner(units, seed, lr)
    table: list[list[float]] = []
    grown = None
    for level in range(len(LEVELS)):
        scored = learner.train(level, 0, steps, remembers)
        if scored <= PASS and grows and grown is None:
            learner.grow(noise)
            grown = level + 1
            scored = learner.train(level, 1, steps, remembers)
        table.append(learner.measure(level))
        if scored <= PASS:
            break
    previous = [float(np.mean(row[:k])) for k, row in enumerate(table) if k]
    future = [float(np.mean(row[k + 1 :])) for k, row in enumerate(table) if k + 1 < len(LEVELS)]
    return {
        "passed": len(table) - (scored <= PASS),
        "grown_at": grown,
        "previous": float(np.mean(previous)) if previous else float("nan"),
        "future": float(np.mean(future)),
        "parameters": sum(p.numel() for p in learner.net.parameters()),
        "table": table,
    }


def main() -> None:
    bench = Benchmark("copy_curriculum", __doc__, seeds=3, jobs=1)
    bench.flag("--steps", type=int, default=1500, help="a level")
    bench.flag("--lr", type=float, default=3e-3)
    bench.flag("--noise", type=float, default=0.1, help="on the copies, of the root mean square of the weights")
    said = bench.said
    given = (said.steps, said.lr, said.noise)
    with bench.runs(*given) as work:
        found = work(learn, {(arm, seed): (arm, seed, *given) for arm in ARMS for seed in range(said.seeds)})
    runs = {arm: [found[arm, seed] for seed in range(said.seeds)] for arm in ARMS}
    measures = ("passed", "previous", "future", "parameters")
    table = {arm: plain(over_seeds([{k: float(r[k]) for k in measures} for r in own])) for arm, own in runs.items()}
    say({arm: [(r["passed"], r["grown_at"]) for r in own] for arm, own in runs.items()})
    bench.save(1, **bench.recipe, levels=LEVELS, table=table, runs=runs)


if __name__ == "__main__":
    main()
