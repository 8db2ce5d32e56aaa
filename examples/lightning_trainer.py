"""Permuted digits, a task after another, in `lightning.Trainer`: a method that guards weights, and one that replays.

python examples/lightning_trainer.py
"""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lifelong import EWC, MLP, Finetune, Method, Replay, permuted
from lifelong.loops.lightning import LifelongCallback


class Digits(lightning.LightningModule):
    """An ordinary module: it knows of no method."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)


class Replaying(Digits):
    """One that asks the callback for the batch and the loss, as methods that take part in them need it."""

    def __init__(self, net: nn.Module, keeper: LifelongCallback) -> None:
        super().__init__(net)
        self.keeper = keeper

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        mixed = self.keeper.mix(*batch)
        return self.keeper.loss(self(mixed.x), mixed)


def learn(method: Method) -> list[float]:
    stream = permuted(tasks=3, source="digits")
    torch.manual_seed(0)
    net = MLP((100, 100))(stream.shape, stream.outputs)
    keeper = LifelongCallback(method)
    module = Replaying(net, keeper) if method.acts & {"segments", "loss"} else Digits(net)
    for task in stream:
        images = next(task.train.all(len(task.train)))
        loader = DataLoader(TensorDataset(images.x, images.y), batch_size=16, shuffle=True)
        lightning.Trainer(
            max_epochs=3,
            callbacks=[keeper],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, loader)
    net.eval()
    with torch.no_grad():
        tests = [next(task.test.all(len(task.test))) for task in stream]
        return [float((net(t.x).argmax(1) == t.y).float().mean()) for t in tests]


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # it would have more workers read a few thousand images
    for method in (Finetune(), EWC(strength=30.0), Replay(buffer_size=200)):
        found = learn(method)
        print(f"{method.name:10}  {'  '.join(f'{a:.2f}' for a in found)}  mean {sum(found) / len(found):.2f}")


if __name__ == "__main__":
    main()
