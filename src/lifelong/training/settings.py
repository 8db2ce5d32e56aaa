"""How a network is trained, whatever the method: the constants of a step, and the optimiser that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final, get_args, get_type_hints

import torch
from torch import nn

from ..core.errors import MethodError

__all__ = ["Training"]


@final
@dataclass(frozen=True)
class Training:
    """How a task is trained, whatever the method.

    Args:
        optimizer: sgd, adam, adamw, rmsprop or adagrad.
        lr: learning rate.
        momentum: of sgd and rmsprop.
        weight_decay: the optimiser's own.
        epochs: passes over a task's examples.
        iterations: steps a task, in place of epochs.
        batch_size: examples a step.
        clip: the largest norm of the gradient of all weights, to which a larger one is brought; default: no limit.
        halve_every: the learning rate is halved after so many epochs of a task, and again; default: never.
        outputs: in the scenario "class", whether all outputs compete in training or those of the classes seen so far.
        reset_optimizer: a new optimiser for each task; otherwise its moments are carried on.
    """

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    epochs: int = 1
    iterations: int | None = None
    batch_size: int = 128
    clip: float | None = None
    halve_every: int | None = None
    outputs: Literal["seen", "all"] = "seen"
    reset_optimizer: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations", "batch_size", "halve_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
                raise MethodError(f"{name} {value}: expected a whole number, at least 1")
        kinds = get_args(get_type_hints(type(self))["optimizer"])
        if self.optimizer not in kinds:
            raise MethodError(f"optimizer {self.optimizer!r}: expected one of {', '.join(kinds)}")
        for name, least, below in (("lr", 0.0, math.inf), ("momentum", 0.0, 1.0), ("weight_decay", 0.0, math.inf)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least <= value < below:
                raise MethodError(
                    f"{name} {value!r}: expected a number from {least:g}{'' if below == math.inf else f' to below {below:g}'}"
                )
        if self.clip is not None and not self.clip > 0:
            raise MethodError(f"clip {self.clip}: expected a norm above 0, or none")

    def build(self, net: nn.Module) -> torch.optim.Optimizer:
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "sgd": torch.optim.SGD,
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
            "rmsprop": torch.optim.RMSprop,
            "adagrad": torch.optim.Adagrad,
        }
        options: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer in ("sgd", "rmsprop"):
            options["momentum"] = self.momentum
        params = [p for p in net.parameters() if p.requires_grad]
        if self.optimizer in ("adam", "adamw"):  # one pass over the weights in place of a dozen
            known = {torch.float32, torch.float64}
            options["fused"] = all(p.device.type in ("cpu", "cuda") and p.dtype in known for p in params)
        return kinds[self.optimizer](params, **options)
