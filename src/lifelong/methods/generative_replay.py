"""Deep generative replay (Shin et al. 2017, arXiv 1705.08690): a scholar is a generator and a solver.

    L_train(θ_i) = r E_{(x,y)∼D_i} L(S(x; θ_i), y) + (1 − r) E_{x'∼G_{i−1}} L(S(x'; θ_i), S(x'; θ_{i−1}))       (equation 1)

The generator G_i learns the same mix of real new inputs and those that G_{i−1} draws. Each task needs the scholar before it and
nothing else; no example is kept. r is 1/k in task k (each task counts alike), or fixed. The last solver's answer to x' is taken as a
label (hard), or as probabilities at temperature T to stay close to (soft: `lifelong.parts.distillation`). The paper's generator is a
WGAN-GP; a variational autoencoder is what van de Ven & Tolias (arXiv 1904.07734) use, and learns faster.

Where tasks are known, a drawn input has no task: each is asked the question of one past task, drawn at random, so that every past head
is rehearsed (van de Ven's code asks all of them for every input; the mean is the same).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MethodError
from ..growth import IndexMap
from ..method import Batch, Edge, Method, Spec
from ..parts.distillation import Normaliser, answers, distance, kept, only
from ..parts.generators import VAE, WGANGP, Generator, Learnt
from ..vector import Vector

__all__ = ["GenerativeReplay"]


@final
@dataclass(frozen=True)
class Scholar:
    """What learns, and the last scholar: the generator and solver as the task before left them."""

    learnt: Learnt | None  # None before the first step
    last: Vector | None
    solver: dict[str, Tensor] | None
    heads: Tensor  # [h, C] the outputs that competed in old task o; one row where the task is not known
    present: Tensor  # [C] those that compete now
    known: bool  # whether each task has a head of its own
    unit: bool  # whether inputs lie in 0..1
    shape: list[int]
    seed: int
    tasks: int = 0


@final
@dataclass(frozen=True)
class GenerativeReplay(Method):
    """Draws inputs like those of past tasks, and answers them as before.

    Args:
        generator: vae, or wgan-gp.
        hidden: units of each of the generator's hidden layers.
        code: length of the code that it draws from.
        generator_lr: Adam's learning rate for the generator; default its paper's (wgan-gp 0.0001) or 0.001 (vae).
        batch: how many inputs are drawn in a step, for the network and for the generator; default as many as come new; 0: none.
        targets: hard (the last solver's label), or soft (its probabilities).
        temperature: T of soft targets.
        normaliser: with soft targets, what the present answers sum to 1 over: old (the outputs of the past), or all that compete.
        new: r, the share of the new examples; default 1/k in task k.
    """

    generator: Literal["vae", "wgan-gp"] = "vae"
    hidden: tuple[int, ...] = (400, 400)
    code: int = 100
    generator_lr: float | None = None
    batch: int | None = None
    targets: Literal["hard", "soft"] = "hard"
    temperature: float = 2.0
    normaliser: Normaliser = "old"
    new: float | None = None

    name: ClassVar[str] = "generative_replay"
    neutral: ClassVar[dict[str, Any]] = {"batch": 0}

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 0:
            raise MethodError(f"generative_replay: batch {self.batch}: expected 0 (none) or more")
        if self.new is not None and not 0 < self.new < 1:
            raise MethodError(f"generative_replay: new {self.new}: expected a share between 0 and 1, both excluded")
        if not self.temperature > 0 or self.code < 1:
            raise MethodError(
                f"generative_replay: temperature {self.temperature}, code {self.code}: expected a temperature above 0 and a "
                "code of at least 1"
            )

    @property
    def acts(self) -> frozenset[str]:
        if self.batch == 0:
            return frozenset()
        return super().acts - ({"loss"} if self.targets == "hard" else set())

    @property
    def _draws(self) -> Generator:
        kind = VAE if self.generator == "vae" else WGANGP
        made = kind(self.hidden, self.code)
        return made if self.generator_lr is None else replace(made, lr=self.generator_lr)

    def _share(self, tasks: int) -> float:
        """r."""
        return 1 / tasks if self.new is None else self.new

    def init(self, theta: Vector, spec: Spec) -> Scholar:
        every = torch.ones(spec.outputs, dtype=torch.bool, device=theta.tensors[0].device)
        known = spec.scenario == "task"
        return Scholar(None, None, None, every.new_zeros(0, spec.outputs), every, known, False, [], spec.seed)

    def begin(self, state: Scholar, edge: Edge) -> Scholar:
        present = torch.ones_like(state.present)
        if state.known and edge.mask is not None:
            present = edge.mask
        elif not state.known and edge.seen:
            present = torch.zeros_like(present).index_fill_(0, torch.tensor(edge.seen, device=present.device), True)
        if not edge.index or state.learnt is None:
            return replace(state, present=present, tasks=state.tasks + 1)
        past = state.present[None]
        return replace(
            state,
            last=state.learnt.weights.clone(),
            solver=kept(edge.net),
            heads=torch.cat([state.heads, past]) if state.known else past,
            present=present,
            tasks=state.tasks + 1,
        )

    def examples(self, state: Scholar, net: nn.Module, batch: Batch, generator: torch.Generator) -> Batch:
        if state.last is None or state.solver is None:
            return batch
        n = self.batch or len(batch.y)
        x = self._draws.draw(state.last, n, tuple(state.shape), state.unit, generator).to(batch.x)
        head = torch.randint(len(state.heads), (n,), generator=generator, device=generator.device)
        mask = state.heads[head.to(state.heads.device)]
        said = only(answers(net, state.solver, x), mask.to(x.device))
        y = said.nan_to_num(float("-inf")).argmax(1)
        r = self._share(state.tasks)
        if self.targets == "hard":
            return batch.weighed(r).plus(Batch(x, y, mask if state.known else None).weighed(1 - r))
        old = Batch(x, y, mask if state.known else None, target=said)
        return batch.weighed(r).plus(old.weighed(0.0))

    def loss(self, state: Scholar, net: nn.Module, batch: Batch, output: Tensor) -> Tensor:
        if batch.target is None:
            return output.new_zeros(())
        over = state.present if self.normaliser == "all" and not state.known else None
        H = distance(output, batch.target, self.temperature, over)
        held = (~batch.target.isnan()).any(1).sum().clamp(min=1)
        return (1 - self._share(state.tasks)) * H.sum() / held

    def sample(self, state: Scholar, n: int, generator: torch.Generator) -> Tensor | None:
        if state.learnt is None:
            return None
        return self._draws.draw(state.learnt.weights, n, tuple(state.shape), state.unit, generator)

    def resize(self, state: Scholar, mapping: IndexMap, theta: Vector) -> Scholar:
        solver = state.solver
        if solver is not None:
            solver = mapping.tensors(solver, {**solver, **theta.dict()})
        more = 0 if mapping.outputs is None else mapping.outputs - len(state.present)
        heads, present = F.pad(state.heads, (0, more)), F.pad(state.present, (0, more))
        return replace(state, solver=solver, heads=heads, present=present)

    def observe(self, state: Scholar, batch: Batch, output: Tensor, generator: torch.Generator) -> Scholar:
        x = batch.x
        if not x.is_floating_point():
            raise MethodError(
                f"generative_replay draws real numbers; the inputs are {x.dtype} (words of a text): use replay, or features of the inputs"
            )
        if state.learnt is None:
            unit = bool((x >= 0).all() & (x <= 1).all())  # once a run
            shape = tuple(x.shape[1:])
            state = replace(state, learnt=self._draws.begin(shape, x, state.seed), unit=unit, shape=list(shape))
        assert state.learnt is not None
        weight = x.new_full((len(x),), 1 / len(x))
        if state.last is not None:
            n, r = self.batch or len(x), self._share(state.tasks)
            drawn = self._draws.draw(state.last, n, tuple(state.shape), state.unit, generator).to(x)
            x = torch.cat([x, drawn])
            weight = torch.cat([weight * r, x.new_full((n,), (1 - r) / n)])
        self._draws.step(state.learnt, x, weight, state.unit, generator)
        return state
