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
from torch import Tensor

from ..core.contexts import Spec, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.method import Method, Traits
from ..core.objective import Labels
from ..core.segments import Batch, Segment
from ..core.vector import Vector
from ..parts.distillation import Before, Normaliser, answers, distance
from ..parts.generators import VAE, WGANGP, Generator, Learnt

__all__ = ["GenerativeReplay"]


@final
@dataclass(frozen=True)
class Scholar:
    """The generator that learns, and the last scholar: generator and solver as the task before left them."""

    learnt: Learnt | None  # the generator; None before the first step
    last: Vector | None  # its weights as the last task left them
    solver: Before
    unit: bool  # whether inputs lie in 0..1
    inside: Tensor  # [] whether all that were met since then do
    shape: list[int]
    seed: int


@final
@dataclass(frozen=True)
class GenerativeReplay(Method):
    """Draws inputs like those of past tasks, and answers them as before.

    Args:
        generator: vae, or wgan-gp.
        hidden: units of each of the generator's hidden layers.
        code: length of the code that it draws from.
        generator_lr: Adam's learning rate for the generator; default its paper's (wgan-gp 0.0001) or 0.001 (vae).
        batch_size: how many inputs are drawn in a step, for the network and for the generator; default as many as come new; 0: none.
        targets: hard (the last solver's label), or soft (its probabilities).
        temperature: T of soft targets.
        normaliser: with soft targets, what the present answers sum to 1 over: old (the outputs of the past), or all that compete.
        new: r, the share of the new examples; default 1/k in task k.
    """

    generator: Literal["vae", "wgan-gp"] = "vae"
    hidden: tuple[int, ...] = (400, 400)
    code: int = 100
    generator_lr: float | None = None
    batch_size: int | None = None
    targets: Literal["hard", "soft"] = "hard"
    temperature: float = 2.0
    normaliser: Normaliser = "old"
    new: float | None = None

    name: ClassVar[str] = "generative_replay"
    summary: ClassVar[str] = "Deep generative replay: draws inputs like those of past tasks, and answers them as before"
    paper: ClassVar[str] = "Shin et al. 2017, arXiv 1705.08690"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"hidden": (8,), "code": 4},
        {"hidden": (8,), "code": 4, "targets": "soft", "batch_size": 7},
    )
    neutral: ClassVar[dict[str, Any]] = {"batch_size": 0}

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 0:
            raise MethodError(f"generative_replay: batch_size {self.batch_size}: expected 0 (none) or more")
        if self.new is not None and not 0 < self.new < 1:
            raise MethodError(f"generative_replay: new {self.new}: expected a share between 0 and 1, both excluded")
        if not self.temperature > 0 or self.code < 1:
            raise MethodError(
                f"generative_replay: temperature {self.temperature}, code {self.code}: expected a temperature above 0 and a "
                "code of at least 1"
            )

    @property
    def acts(self) -> frozenset[str]:
        if self.batch_size == 0:
            return frozenset()
        return super().acts - ({"loss"} if self.targets == "hard" else set())

    @property
    def traits(self) -> Traits:
        return Traits(asks=True, later=True, ranks=True)

    @property
    def _draws(self) -> Generator:
        kind = VAE if self.generator == "vae" else WGANGP
        made = kind(self.hidden, self.code)
        return made if self.generator_lr is None else replace(made, lr=self.generator_lr)

    def _share(self, tasks: int) -> float:
        """r."""
        return 1 / tasks if self.new is None else self.new

    def init(self, theta: Vector, spec: Spec) -> Scholar:
        return Scholar(None, None, Before.none(theta, spec), False, _true(theta.tensors[0].device), [], spec.seed)

    def begin(self, state: Scholar, context: TaskContext) -> Scholar:
        first = next(context.examples.all(512), None) if state.unit else None
        if first is not None and not bool(_within(first.x)):
            raise _outside(context.index - bool(context.known))  # soon, where it shows soon
        last = None if state.learnt is None else state.learnt.weights.clone()
        return replace(state, last=last, solver=state.solver.next(context))

    def segments(self, state: Scholar, batch: Batch, context: StepContext) -> Batch:
        solver = state.solver
        if state.last is None or solver.weights is None:
            return batch
        n, draws = self.batch_size or batch.rows, context.generator
        x = self._draws.draw(state.last, n, tuple(state.shape), state.unit, draws).to(batch.new.x)
        head = torch.randint(len(solver.heads), (n,), generator=draws, device=draws.device)
        held = solver.heads[head.to(x.device)]
        said = answers(context.net, solver.weights, x)
        y = said.masked_fill(~held, float("-inf")).argmax(1)
        old = Segment(x, Labels(y, held) if solver.known else y)
        r = self._share(solver.tasks)
        if self.targets == "hard":
            return batch.scaled(r).plus(old, weight=1 - r)
        return batch.scaled(r).plus(old._replace(teacher=said, held=held), weight=0.0)

    def loss(self, state: Scholar, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        over = state.solver.present if self.normaliser == "all" and not state.solver.known else None
        for segment, f in batch.parts(output):
            if segment.teacher is not None and segment.held is not None:
                H = distance(f, segment.teacher, segment.held, self.temperature, over)
                return (1 - self._share(state.solver.tasks)) * H.mean()
        return output.new_zeros(())

    def extra_passes(self, state: Scholar, own: int, learnt: int) -> tuple[int, int]:
        drawn = 0 if state.last is None else self.batch_size or own
        forward, backward = self._draws.passes
        # drawn for the solver and for the generator, and answered by the solver as it was
        return 3 * drawn + forward * (own + drawn), backward * (own + drawn)

    def end(self, state: Scholar, context: TaskContext) -> Scholar:
        if not bool(state.inside):
            raise _outside(context.index - bool(context.known))
        return state

    def sample(self, state: Scholar, n: int, generator: torch.Generator) -> Tensor | None:
        if state.learnt is None:
            return None
        return self._draws.draw(state.learnt.weights, n, tuple(state.shape), state.unit, generator)

    def resize(self, state: Scholar, mapping: IndexMap, theta: Vector) -> Scholar:
        return replace(state, solver=state.solver.resize(mapping, theta))

    def observe(self, state: Scholar, new: Segment, output: Tensor, context: StepContext) -> Scholar:
        x, generator = new.x, context.generator
        if not x.is_floating_point():
            raise MethodError(
                f"generative_replay draws real numbers; the inputs are {x.dtype} (words of a text): use replay, or features of the inputs"
            )
        if state.learnt is None:
            unit = bool(_within(x))  # once a run
            shape = tuple(x.shape[1:])
            state = replace(state, learnt=self._draws.begin(shape, x, state.seed), unit=unit, shape=list(shape))
        assert state.learnt is not None
        if state.unit:
            state.inside.logical_and_(_within(x))
        weight = x.new_full((len(x),), 1 / len(x))
        if state.last is not None:
            n, r = self.batch_size or len(x), self._share(state.solver.tasks)
            drawn = self._draws.draw(state.last, n, tuple(state.shape), state.unit, generator).to(x)
            x = torch.cat([x, drawn])
            weight = torch.cat([weight * r, x.new_full((n,), (1 - r) / n)])
        self._draws.step(state.learnt, x, weight, state.unit, generator)
        return state


def _true(device: torch.device) -> Tensor:
    return torch.ones((), dtype=torch.bool, device=device)


def _within(x: Tensor) -> Tensor:
    """Whether all inputs lie in 0..1, ``[]``."""
    low, high = x.aminmax()
    return (low >= 0) & (high <= 1)


def _outside(index: int) -> MethodError:
    return MethodError(
        f"task {index + 1} brings inputs outside 0..1, where the first ones lay within and inputs are drawn so: scale all tasks alike"
    )
