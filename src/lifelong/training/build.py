"""The learner of one seed, made of a method, a network (or what builds one) and a stream."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from ..core.errors import MethodError
from ..core.method import Method
from ..core.random import derive
from ..core.ranks import ALONE, Ranks
from ..core.stream import Stream
from .learner import Learner
from .settings import Training

__all__ = ["Build", "learner_for", "network_of", "takes"]

Build = Callable[[tuple[int, ...], int], nn.Module]  # input shape, outputs -> network


def learner_for(
    method: Method,
    net: Build | nn.Module,
    stream: Stream,
    training: Training,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> Learner:
    """The learner of one seed: its initial weights depend on the seed alone."""
    return Learner(
        network_of(net, stream, seed),
        method,
        training,
        scenario=stream.scenario,
        seed=seed,
        device=device,
        dtype=dtype,
        grows=not stream.announced,
        ranks=ranks,
        known=None if isinstance(net, nn.Module) else 0,  # a network that is made anew knows nothing
    )


def network_of(net: Build | nn.Module, stream: Stream, seed: int) -> nn.Module:
    """The network of one seed, as it is before it learns."""
    if isinstance(net, nn.Module):
        return copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        return net(stream.shape, stream.outputs)


@torch.no_grad()
def takes(net: nn.Module, stream: Stream) -> None:
    """Raises `MethodError` where the network cannot take the stream's inputs."""
    x = next(stream[0].test.all(1)).x
    try:
        net.eval()(x)
    except (RuntimeError, IndexError) as error:
        raise MethodError(
            f"the network cannot take inputs {x.dtype} {list(x.shape[1:])} ({str(error).splitlines()[0]}): words need --net memory_network or "
            "reader, images mlp or resnet18"
        ) from error
