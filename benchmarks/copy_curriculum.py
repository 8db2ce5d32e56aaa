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

import argparse
from collections import deque

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from environment import save
from lifelong import Training, interval
from lifelong.growth import carry_moments
from lifelong.nets import widen
from lifelong.parts.dual import dual
from lifelong.random import derive, generator
from lifelong.vector import Vector

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


def learn(arm: str, seed: int, said: argparse.Namespace) -> dict[str, object]:
    units, remembers, grows = ARMS[arm]
    torch.manual_seed(derive(seed, "weights"))
    net = Copier(units)
    training = Training("adam", lr=said.lr)
    optimizer = training.build(net)
    memory: list[tuple[Tensor, Tensor]] = []
    table: list[list[float]] = []
    grown = None

    def gradient(x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        f = logits(net, x, y)
        loss = F.binary_cross_entropy_with_logits(f, y)
        return list(torch.autograd.grad(loss, list(net.parameters()))), f.detach()

    def train(level: int, round_: int) -> float:
        draws = generator(seed, f"level/{level}/{round_}")
        latest: deque[float] = deque(maxlen=100)
        for _ in range(said.steps):
            x, y = draw(level, draws)
            g, f = gradient(x, y)
            if remembers and level:
                past = torch.stack([torch.cat([t.flatten() for t in gradient(*kept)[0]]) for kept in memory[:level]])
                row = torch.cat([t.flatten() for t in g])
                products = (past @ row).double().numpy()
                if (products < 0).any():
                    v = torch.from_numpy(dual((past @ past.T).double().numpy(), products, MARGIN)).float()
                    row = row + v @ past
                    g = [p.view_as(t) for p, t in zip(row.split([t.numel() for t in g]), g)]
            for p, t in zip(net.parameters(), g):
                p.grad = t.clamp(-10, 10)
            optimizer.step()
            latest.append(right(f, y))
            memory[level:] = [(x, y)]
        return float(np.mean(latest))

    for level in range(len(LEVELS)):
        scored = train(level, 0)
        if scored <= PASS and grows and grown is None:
            old, moments = Vector.of(net), optimizer.state_dict()
            mapping = widen(net, "lstm", LARGE, seed=derive(seed, "grow"), noise=said.noise)
            optimizer = training.build(net)
            optimizer.load_state_dict(carry_moments(moments, old, Vector.of(net), mapping))
            grown = level + 1
            scored = train(level, 1)
        draws = generator(seed, f"test/{level}")
        with torch.no_grad():
            row = []
            for other in range(len(LEVELS)):
                batches = [draw(other, draws) for _ in range(20)]
                row.append(float(np.mean([right(logits(net, x, y), y) for x, y in batches])))
        table.append(row)
        if scored <= PASS:
            break
    passed = len(table) - (scored <= PASS)
    previous = [float(np.mean(row[:k])) for k, row in enumerate(table) if k]
    future = [float(np.mean(row[k + 1 :])) for k, row in enumerate(table) if k + 1 < len(LEVELS)]
    print(arm, seed, "passed", passed, "grown at", grown, [[round(a, 2) for a in row] for row in table], flush=True)
    return {
        "passed": passed,
        "grown_at": grown,
        "previous": float(np.mean(previous)) if previous else float("nan"),
        "future": float(np.mean(future)),
        "parameters": sum(p.numel() for p in net.parameters()),
        "table": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="a level")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument(
        "--noise", type=float, default=0.1, help="on the copies, of the root mean square of the weights"
    )
    said = parser.parse_args()
    torch.set_num_threads(1)
    runs = {arm: [learn(arm, seed, said) for seed in range(said.seeds)] for arm in ARMS}
    table = {
        arm: {
            k: interval([float(r[k]) for r in found])._asdict() for k in ("passed", "previous", "future", "parameters")
        }
        for arm, found in runs.items()
    }
    save("copy_curriculum", 1, **vars(said), levels=LEVELS, table=table, runs=runs)


if __name__ == "__main__":
    main()
