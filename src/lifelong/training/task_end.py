"""The end of a task, tried and reported on before the task is learnt, and looked at after; the same in the library's loop and in anybody's
own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..core import state_io
from ..core.contexts import Costs, TaskContext
from ..core.errors import LifelongError, MethodError, TrainingError
from ..core.method import Method
from ..core.random import untouched
from .first_batch import moving_statistics

__all__ = ["ended", "not_held", "try_end"]


def try_end(method: Method, state: Any, context: TaskContext, warn: Callable[[str], None]) -> None:
    """The end of a task on the few examples of `context`, of which nothing is kept: what cannot be is refused before the task is learnt.

    Raises:
        MethodError: the method's `end` fails with this network.
        LifelongError: what it raises itself.
    """
    said: list[str] = []
    context = replace(context, costs=Costs(), trial=True, warn=said.append)
    try:
        with torch.no_grad(), untouched(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are only a few
            method.end(copy.deepcopy(state), context)
    except LifelongError:
        raise
    except Exception as error:  # of the network or of torch: the end of the task would end so
        what = str(error).splitlines()[0] if str(error) else "no message"
        raise MethodError(
            f"what {method.name} does at the end of a task fails with this network, as was tried on the first examples "
            f"({type(error).__name__}: {what}): use a method that looks at no examples then (si, l2, replay)"
        ) from error
    for text in said:
        warn(text)


def not_held(method: Method, net: nn.Module, moved: Sequence[str] = ()) -> list[str]:
    """What of a network in training mode moves with a new task though the method holds weights: a sentence each.

    Args:
        moved: the buffers that moved while the last task was learnt.
    """
    if not method.traits.penalises or "segments" in method.acts:
        return []
    said = []
    if layers := moving_statistics(net):
        said.append(
            f"{method.name} holds weights and not the running statistics of batch norm ({_few(layers)}), which follow the new task and change what "
            "earlier tasks are answered: keep these layers in evaluation mode (layer.eval(), in your own loop after model.train()), use GroupNorm "
            "or LayerNorm, or remember examples (replay)"
        )
    if moved:
        said.append(
            f"{method.name} holds weights and not buffers, and buffers of the network were written to while the last task was learnt ({_few(moved)}): "
            "where they are statistics of inputs, which change what earlier tasks are answered, keep their layers in evaluation mode, or remember "
            "examples (replay)"
        )
    return said


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def ended(method: Method, state: Any, context: TaskContext) -> Any:
    """What the method holds after a task.

    Raises:
        TrainingError: some of it is NaN or infinite.
    """
    state = method.end(state, context)
    wild = state_io.wild(state)
    if wild:
        raise TrainingError(
            f"what {method.name} would hold of this task is NaN or infinite ({', '.join(wild[:3])}), and is not taken: look at the network's weights "
            "and at the task's examples, or lower the learning rate"
        )
    return state
