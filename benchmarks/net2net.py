"""Net2Net on MNIST: a small convolutional network made wider and deeper, against random padding and training anew.

A teacher (two convolutions 3×3 with pooling, one hidden layer) is trained for some iterations. Then its first convolution gets four times
as many filters, or a second layer is put behind its second convolution: as Net2Net does, by padding with random weights (standard
deviation 0.1, the old ones as they were), by a random new layer, or as a new network of that size. Accuracy on the test images when
training has gone on for 0, 100 and 200 iterations, with the same batches for all. Each goes on with the learning rate that it does best
with after 200 iterations on held-out training images, of a stated grid and with a seed that is none of the reported.

    LIFELONG_DATA=... python benchmarks/net2net.py [--seeds 5] [--filters 32,64] [--units 1024] [--teacher 900]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Benchmark, say
from lifelong import Training, interval, paired
from lifelong.core.random import generator
from lifelong.nets import deepen, widen
from lifelong.streams.sources import load

TRAINING = Training("sgd", lr=0.02, momentum=0.9, batch_size=32)
AT = (0, 100, 200)
RATES = (TRAINING.lr, TRAINING.lr / 4)
ARMS = (
    "the teacher goes on",
    *("wider: Net2Net", "wider: random padding", "wider: trained anew"),
    *("deeper: Net2Net", "deeper: random layer", "deeper: trained anew"),
)


def network(first: int, second: int, units: int, deeper: bool = False) -> nn.Sequential:
    more = [nn.Conv2d(second, second, 3, padding=1), nn.ReLU()] if deeper else []
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), *more, nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(second * 49, units), nn.ReLU(), nn.Linear(units, 10)),
    )


@torch.no_grad()
def padded(net: nn.Module, wide: nn.Module) -> nn.Module:
    """`wide` with the weights of `net` where it has them, and others at random."""
    for old, new in zip(net.parameters(), wide.parameters()):
        new.normal_(0.0, 0.1)
        new[tuple(slice(0, n) for n in old.shape)] = old
    return wide


@torch.no_grad()
def random_layer(net: nn.Module, deep: nn.Module) -> nn.Module:
    """`deep` with the weights of `net`, its further layer as torch begins it."""
    own = [m for m in deep.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    del own[2]
    for old, new in zip((m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)), own):
        new.load_state_dict(old.state_dict())
    return deep


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        found = torch.cat([net(part).argmax(1) for part in x.split(500)])
    return float((found == y).float().mean())


def one(
    seed: int, said: argparse.Namespace, rates: Mapping[str, Sequence[float]], held_out: bool = False
) -> dict[str, list[list[float]]]:
    """Of each arm, for each of its learning rates, accuracy after each number of iterations."""
    source = load(said.source)
    x, y = source.train_x[:, None].float() / 255, source.train_y
    if held_out:
        test_x, test_y, x, y = x[: said.test], y[: said.test], x[said.test :], y[said.test :]
    else:
        rows = torch.randperm(len(source.test_x), generator=generator(0, "test"))[: said.test]
        test_x, test_y = source.test_x[rows, None].float() / 255, source.test_y[rows]
    order = torch.randperm(len(x), generator=generator(seed, "order"))
    batches = order[: len(order) // TRAINING.batch_size * TRAINING.batch_size].split(TRAINING.batch_size)

    def train(net: nn.Module, optimizer: torch.optim.Optimizer, first: int, steps: int) -> None:
        for i in range(first, first + steps):
            rows = batches[i % len(batches)]
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()

    torch.manual_seed(seed)
    first, second = said.filters
    teacher = network(first, second, said.units)
    train(teacher, TRAINING.build(teacher), 0, said.teacher)
    wide, deep = network(4 * first, second, said.units), network(first, second, said.units, deeper=True)
    wider, deeper = copy.deepcopy(teacher), copy.deepcopy(teacher)
    widen(wider, "0", 4 * first, seed=seed, noise=said.noise)
    deepen(deeper, "3", seed=seed, noise=0.0)
    arms = {
        "the teacher goes on": copy.deepcopy(teacher),
        "wider: Net2Net": wider,
        "wider: random padding": padded(teacher, copy.deepcopy(wide)),
        "wider: trained anew": wide,
        "deeper: Net2Net": deeper,
        "deeper: random layer": random_layer(teacher, copy.deepcopy(deep)),
        "deeper: trained anew": deep,
    }
    found: dict[str, list[list[float]]] = {}
    for name, begun in arms.items():
        for lr in rates[name]:
            net = copy.deepcopy(begun)
            optimizer = replace(TRAINING, lr=lr).build(net)
            row = [accuracy(net, test_x, test_y)]
            for start, stop in pairwise(AT):
                train(net, optimizer, said.teacher + start, stop - start)
                row.append(accuracy(net, test_x, test_y))
            say(seed, name, lr, [f"{a:.4f}" for a in row])
            found.setdefault(name, []).append(row)
    return found


def main() -> None:
    bench = Benchmark("net2net", __doc__, seeds=5, source="mnist", jobs=1)
    bench.flag("--filters", type=lambda s: tuple(map(int, s.split(","))), default=(32, 64))
    bench.flag("--units", type=int, default=1024)
    bench.flag("--teacher", type=int, default=900, help="iterations")
    bench.flag("--noise", type=float, default=0.05, help="on the copies, of the root mean square of the weights")
    bench.flag("--test", type=int, default=10_000, help="test images")
    said = bench.said
    given = {k: v for k, v in bench.recipe.items() if k != "seeds"}
    with bench.runs(given) as work:
        tried = work.once("rates", lambda: one(1000, said, dict.fromkeys(ARMS, RATES), held_out=True))
        rates = {name: max(zip(RATES, rows), key=lambda found: found[1][-1])[0] for name, rows in tried.items()}
        chosen = {name: (lr,) for name, lr in rates.items()}
        runs = [*work(one, {seed: (seed, said, chosen) for seed in range(said.seeds)}).values()]
    table = {name: [[r[name][0][i] for r in runs] for i in range(len(AT))] for name in ARMS}
    minus = {
        f"{kind}, {other}": [
            paired(table[f"{kind}: Net2Net"][i], table[f"{kind}: {other}"][i])._asdict() for i in range(len(AT))
        ]
        for kind, other in (
            ("wider", "random padding"),
            ("wider", "trained anew"),
            ("deeper", "random layer"),
            ("deeper", "trained anew"),
        )
    }
    bench.save(
        1,
        **bench.recipe,
        training=str(TRAINING),
        rates=rates,
        tried={name: dict(zip(map(str, RATES), rows)) for name, rows in tried.items()},
        at=AT,
        table={name: [interval(column)._asdict() for column in columns] for name, columns in table.items()},
        net2net_minus=minus,
        values=table,
    )


if __name__ == "__main__":
    main()
