"""EfficientNet-Lite0, trained on ImageNet, fine-tuned at 64 pixels on split CIFAR-100: ten tasks of ten new classes each, the task hidden.

A stated subset: 50 training and 10 test images a class, three passes, Adam, learning rate 0.001, batch 32, mirrored and moved by up
to 2 pixels. Memory: 500 examples; latent replay keeps what arrives at block 11 of 16 (112 channels of 4×4), below which the network rests after
the first task, or learns at a tenth of the rate. Frozen: the last layer alone learns, with replay.

    LIFELONG_DATA=... python benchmarks/fine_tuned.py [--examples 500] [--seeds 3]        14 minutes of one core a seed
"""

from __future__ import annotations

from torch import Tensor, nn

from harness import Benchmark, over_seeds, plain
from lifelong import Augment, Finetune, LatentReplay, Method, Replay, Training, chain, efficientnet_lite0, fit, split
from lifelong.runs.run import Job

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


def measure(name: str, seed: int, examples: int, test_examples: int, tasks: int) -> dict[str, float]:
    method, frozen = METHODS[name], name.startswith("frozen")
    stream = split(
        "cifar100", tasks=TASKS, seed=seed, order="random", examples=examples, test_examples=test_examples
    ).subset(range(tasks))
    run = fit(
        chain(method, Augment(shift=2)) if isinstance(method, Replay) else chain(Augment(shift=2), method),
        lambda shape, outputs: Network(outputs, frozen),
        stream,
        seeds=[seed],
        training=TRAINING,
    )
    measured = run.measures(Job(run.methods[0], seed))
    return {k: measured[k] for k in ("acc", "bwt", "learning_accuracy", "memory_bytes", "train_seconds")}


def main() -> None:
    bench = Benchmark("fine_tuned", __doc__, seeds=3, jobs=1)
    bench.flag("--examples", type=int, default=500, help="of a task, ten classes of it")
    bench.flag("--test_examples", type=int, default=100)
    bench.flag("--tasks", type=int, default=TASKS, help="how many of the ten are learnt")
    said = bench.said
    given = (said.examples, said.test_examples, said.tasks)
    with bench.runs(*given) as runs:
        found = runs(measure, {(name, s): (name, s, *given) for s in range(said.seeds) for name in METHODS})
    table = {name: plain(over_seeds([found[name, s] for s in range(said.seeds)])) for name in METHODS}
    methods = {name: str(method) for name, method in METHODS.items()}
    bench.save(1, **bench.recipe, training=str(TRAINING), layer=LAYER, methods=methods, table=table)


if __name__ == "__main__":
    main()
