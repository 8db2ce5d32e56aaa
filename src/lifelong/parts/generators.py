"""Networks that learn to draw inputs, as states: their weights and an optimiser's moments are tensors that a checkpoint holds.

A generator learns beside the network that answers, from the same steps, and draws in one pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log, pi, prod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.adam import adam

from ..core.random import derive
from ..core.vector import Vector
from ..nets.mlp import MLP

__all__ = ["VAE", "WGANGP", "Adam", "Generator", "Learnt"]


@final
@dataclass(frozen=True)
class Adam:
    """Constants of Adam (Kingma & Ba 2015, arXiv 1412.6980)."""

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999

    def step(self, learnt: Learnt, grads: Sequence[Tensor], names: Sequence[str]) -> None:
        """Moves the weights `names` of `learnt`, and their moments."""
        weights, first, second = (v.dict() for v in (learnt.weights, learnt.first, learnt.second))
        adam(
            [weights[n] for n in names],
            list(grads),
            [first[n] for n in names],
            [second[n] for n in names],
            [],
            [learnt.steps[n] for n in names],
            fused=weights[names[0]].is_floating_point(),
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


@final
@dataclass(frozen=True)
class Learnt:
    """A generator's weights, and Adam's moments and counts of them."""

    weights: Vector
    first: Vector
    second: Vector
    steps: dict[str, Tensor]

    @staticmethod
    def begin(weights: Vector) -> Learnt:
        device = weights.tensors[0].device
        steps = {name: torch.zeros((), device=device) for name in weights.names}
        return Learnt(weights, weights.zeros(), weights.zeros(), steps)


@dataclass(frozen=True)
class Generator(ABC):
    """Constants of a generator; what it has learnt is a `Learnt`.

    Args:
        hidden: units of each hidden layer.
        code: length of what it draws from.
        lr: Adam's learning rate.
    """

    hidden: tuple[int, ...] = (400, 400)
    code: int = 100
    lr: float = 0.001

    @abstractmethod
    def networks(self, shape: tuple[int, ...]) -> nn.ModuleDict:
        """Its networks, "generator" among them: codes ``[B, code]`` to inputs ``[B, prod(shape)]`` before `drawn`."""

    @property
    @abstractmethod
    def passes(self) -> tuple[int, int]:
        """How often a step passes each example forward and backward."""

    @abstractmethod
    def step(self, learnt: Learnt, x: Tensor, weight: Tensor, unit: bool, draws: torch.Generator) -> None:
        """One step of learning, written into `learnt`.

        Args:
            x: inputs ``[B, ...]``.
            weight: how much each counts ``[B]``; they sum to 1.
            unit: whether inputs lie in 0..1 (and are then drawn so).
        """

    def begin(self, shape: tuple[int, ...], like: Tensor, seed: int) -> Learnt:
        """Before the first step."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "generator"))
            networks = self.networks(shape)
        return Learnt.begin(Vector.of(networks.to(like)).clone())

    def draw(self, weights: Vector, n: int, shape: tuple[int, ...], unit: bool, draws: torch.Generator) -> Tensor:
        """Inputs ``[n, *shape]``, drawn in one pass without a graph."""
        like = weights.tensors[0]
        z = torch.randn(n, self.code, generator=draws, device=draws.device).to(like)
        with torch.no_grad():
            h = _call(self, shape, "generator", weights, z)
            return (h.sigmoid() if unit else h).view(n, *shape)

    def names(self, weights: Vector, *parts: str) -> list[str]:
        """The weights of some of its networks."""
        return [n for n in weights.names if n.split(".")[0] in parts]


@lru_cache(maxsize=8)
def _skeleton(generator: Generator, shape: tuple[int, ...]) -> nn.ModuleDict:
    with torch.device("meta"):
        return generator.networks(shape)


def _call(generator: Generator, shape: tuple[int, ...], part: str, weights: Vector, x: Tensor) -> Tensor:
    own = {n.removeprefix(f"{part}."): t for n, t in weights if n.startswith(f"{part}.")}
    found: Tensor = functional_call(_skeleton(generator, shape)[part], own, (x,))
    return found


@final
@dataclass(frozen=True)
class VAE(Generator):
    """Variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114), symmetric:

        minimise  −E_{z∼q(z|x)} log p(x|z) + KL(q(z|x) ‖ N(0, 1)),   both divided by the number of pixels

    with q a diagonal normal, and p Bernoulli for inputs in 0..1 (cross-entropy), otherwise normal of spread 1.
    """

    def networks(self, shape: tuple[int, ...]) -> nn.ModuleDict:
        width = (prod(shape),)
        return nn.ModuleDict(
            {
                "encoder": MLP(self.hidden)(width, 2 * self.code),
                "generator": MLP(self.hidden[::-1])((self.code,), width[0]),
            }
        )

    @property
    def passes(self) -> tuple[int, int]:
        return 1, 1

    def bound(self, weights: Vector, x: Tensor, unit: bool, draws: torch.Generator) -> Tensor:
        """The negative evidence bound of each example, per pixel, ``[B]``."""
        shape, target = tuple(x.shape[1:]), x.flatten(1)
        mean, log_var = _call(self, shape, "encoder", weights, target).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=draws, device=draws.device).to(mean)
        output = _call(self, shape, "generator", weights, mean + (0.5 * log_var).exp() * noise)
        if unit:
            miss = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        else:
            miss = 0.5 * ((output - target).square() + log(2 * pi))
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1)
        return miss.mean(1) + kl / target.shape[1]

    def step(self, learnt: Learnt, x: Tensor, weight: Tensor, unit: bool, draws: torch.Generator) -> None:
        with torch.enable_grad():
            leaves = learnt.weights.map(lambda t: t.detach().requires_grad_())
            loss = (self.bound(leaves, x, unit, draws) * weight).sum()
            grads = torch.autograd.grad(loss, leaves.tensors)
        Adam(self.lr).step(learnt, grads, leaves.names)


@final
@dataclass(frozen=True)
class WGANGP(Generator):
    """Wasserstein GAN with a penalty on the critic's gradient (Gulrajani et al. 2017, arXiv 1704.00028, equation 3):

        critic     E D(x̃) − E D(x) + λ E (‖∇_x̂ D(x̂)‖ − 1)²,   x̂ = εx + (1 − ε)x̃,  ε ∼ U[0, 1]
        generator  −E D(G(z))

    with λ = 10, five steps of the critic for one of the generator, and Adam with β = (0.5, 0.9), as there.
    """

    lr: float = 1e-4
    penalty: float = 10.0
    critic_steps: int = 5

    def networks(self, shape: tuple[int, ...]) -> nn.ModuleDict:
        width = (prod(shape),)
        return nn.ModuleDict(
            {"critic": MLP(self.hidden)(width, 1), "generator": MLP(self.hidden[::-1])((self.code,), width[0])}
        )

    @property
    def passes(self) -> tuple[int, int]:
        # the critic's step: what is drawn, and three inputs of the critic with the slope at one; the generator's: through both
        return 4 * self.critic_steps + 2, 4 * self.critic_steps + 2

    def critic_loss(self, weights: Vector, real: Tensor, fake: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
        """Of inputs ``[B, ...]``, real and drawn; `epsilon` ``[B]`` in 0..1 mixes them."""
        shape = tuple(real.shape[1:])
        mix = epsilon.view(-1, *[1] * len(shape))
        between = (mix * real + (1 - mix) * fake).detach().requires_grad_()

        def critic(x: Tensor) -> Tensor:
            return _call(self, shape, "critic", weights, x).flatten()

        [slope] = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        gradient = (slope.flatten(1).norm(dim=1) - 1).square()
        loss: Tensor = ((critic(fake) - critic(real) + self.penalty * gradient) * weight).sum()
        return loss

    def step(self, learnt: Learnt, x: Tensor, weight: Tensor, unit: bool, draws: torch.Generator) -> None:
        shape, adam = tuple(x.shape[1:]), Adam(self.lr, 0.5, 0.9)
        for part, times in (("critic", self.critic_steps), ("generator", 1)):
            names = self.names(learnt.weights, part)
            for _ in range(times):
                with torch.enable_grad():
                    weights = Vector.from_dict({n: t.detach() for n, t in learnt.weights})
                    leaves = [weights[n].requires_grad_() for n in names]
                    if part == "critic":
                        fake = self.draw(learnt.weights, len(x), shape, unit, draws)
                        epsilon = torch.rand(len(x), generator=draws, device=draws.device).to(x)
                        loss = self.critic_loss(weights, x, fake, weight, epsilon)
                    else:
                        z = torch.randn(len(x), self.code, generator=draws, device=draws.device).to(x)
                        h = _call(self, shape, "generator", weights, z)
                        fake = (h.sigmoid() if unit else h).view(len(x), *shape)
                        loss = -_call(self, shape, "critic", weights, fake).mean()
                    grads = torch.autograd.grad(loss, leaves)
                adam.step(learnt, grads, names)
