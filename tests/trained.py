"""What `torchrun` starts in a test: other people's Trainers with a method, the same steps in as many processes as there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lifelong import AGEM, EWC, Finetune, LwF, Method, Replay, chain
from other_trainers import Order, bert, keeper, lightning_fit, lightning_keeper, lit, sentences, train
from toys import toy_net, toy_stream, weights

METHODS: dict[str, Method] = {
    "finetune": Finetune(),
    "ewc+replay": chain(EWC(5.0), Replay(24)),
    "lwf": LwF(2.0),
    "agem": AGEM(24, batch_size=16),
}
WORLD, RANK = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


class Part(Order):
    """Of each sixteen examples those of this process."""

    def __len__(self) -> int:
        return self.n // WORLD

    def __iter__(self) -> Iterator[int]:
        for rows in torch.tensor(list(super().__iter__())).split(16):
            yield from rows.chunk(WORLD)[RANK].tolist()


def huggingface(method: Method, folder: Path) -> dict[str, Tensor]:
    stream = sentences("class")
    model, own = bert(stream.outputs).double(), keeper(method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for task in stream:
        train(model, folder, task, own, optimizer=optimizer, per_device_train_batch_size=16 // WORLD)
    return weights(model)


def lightning(method: Method, folder: Path) -> dict[str, Tensor]:
    stream = toy_stream("class", tasks=2)
    net, own = toy_net(stream.outputs), lightning_keeper(method)
    module = lit(net, own).double()
    several = {"strategy": "ddp", "devices": WORLD, "use_distributed_sampler": False} if WORLD > 1 else {}
    for task in stream:
        order = Part(task.index, len(task.train))  # Lightning's own would shuffle it
        lightning_fit(module, task, own, batch_size=16 // WORLD, sampler=order, precision="64-true", **several)
    return weights(net)


def everything(folder: Path) -> dict[str, Tensor]:
    return {
        f"{library.__name__}/{name}/{weight}": t
        for library in (huggingface, lightning)
        for name, method in METHODS.items()
        for weight, t in library(method, folder).items()
    }


if __name__ == "__main__":
    found = everything(Path(sys.argv[1]))
    if RANK == 0:
        torch.save(found, sys.argv[2])
    torch.distributed.barrier()  # who ends first would close what the other still reads
    torch.distributed.destroy_process_group()
    os._exit(0)  # as in accelerated.py
