"""EfficientNet-Lite0, trained on ImageNet, fine-tuned at 64 pixels on split CIFAR-100: ten tasks of ten new classes each, the task hidden.

A stated subset: 50 training and 10 test images a class, three passes, Adam, learning rate 0.001, batch 32, mirrored and moved by up
to 2 pixels. Memory: 500 examples; latent replay keeps what arrives at block 11 of 16 (112 channels of 4×4), below which the network rests after
the first task, or learns at a tenth of the rate. Frozen: the last layer alone learns, with replay.

    LIFELONG_DATA=... python benchmarks/fine_tuned.py [--examples 500] [--seeds 3]        14 minutes of one core a seed
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor, nn

from environment import save
from lifelong import (
    Augment,
    Finetune,
    LatentReplay,
    Method,
    Replay,
    Training,
    chain,
    efficientnet_lite0,
    fit,
    interval,
    split,
)
from lifelong.run import Job

TASKS, SLOTS, LAYER = 10, 500, "backbone.net._blocks.11"
TRAINING = Training(optimizer="adam", lr=0.001, batch_size=32, epochs=3)
METHODS: dict[str, Method] = {
    "frozen, replay": Replay(SLOTS, fill="random"),
    "fine-tuning": Finetune(),
    "replay": Replay(SLOTS, fill="random"),
    "latent replay, ρ = 0": LatentReplay(SLOTS, LAYER),
    "latent replay, ρ = 0.1": LatentReplay(SLOTS, LAYER, rate=0.1),
}


class Network(nn.Module):
    """The backbone and a linear layer."""

    def __init__(self, outputs: int, frozen: bool) -> None:
        super().__init__()
        self.backbone = efficientnet_lite0(64).requires_grad_(not frozen)
        self.frozen = frozen
        self.head = nn.Linear(1280, outputs)

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(x))
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=500, help="of a task, ten classes of it")
    parser.add_argument("--test_examples", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=TASKS, help="how many of the ten are learnt")
    parser.add_argument("--seeds", type=int, default=3)
    said = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for seed in range(said.seeds):
        stream = split(
            "cifar100", tasks=TASKS, seed=seed, order="random", examples=said.examples, test_examples=said.test_examples
        ).subset(range(said.tasks))
        for name, method in METHODS.items():
            frozen = name.startswith("frozen")
            run = fit(
                chain(method, Augment(shift=2)) if isinstance(method, Replay) else chain(Augment(shift=2), method),
                lambda shape, outputs, frozen=frozen: Network(outputs, frozen),
                stream,
                seeds=[seed],
                training=TRAINING,
            )
            measured = run.measures(Job(run.methods[0], seed))
            keys = ("acc", "bwt", "learning_accuracy", "memory_bytes", "train_seconds")
            found[name].append({k: measured[k] for k in keys})
            print(seed, name, {k: round(v, 3) for k, v in found[name][-1].items()}, file=sys.stderr, flush=True)
    table = {name: {k: interval([f[k] for f in each])._asdict() for k in each[0]} for name, each in found.items()}
    methods = {name: str(method) for name, method in METHODS.items()}
    save("fine_tuned", 1, **vars(said), training=str(TRAINING), layer=LAYER, methods=methods, table=table)


if __name__ == "__main__":
    main()
