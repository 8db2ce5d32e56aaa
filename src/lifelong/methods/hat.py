"""Hard Attention to the Task (Serrà, Surís, Miron & Karatzoglou 2018, arXiv 1801.01423).

    h_l' = a_l ⊙ h_l,   a_l = σ(s e_l)                           each task has an attention on the hidden units        (equation 1)
    g_l,ij ← (1 − min(a_l,i, a_l−1,j)) g_l,ij                    a: the maximum over earlier tasks                      (equation 2)
    s = 1/s_max + (s_max − 1/s_max) (b − 1)/(B − 1)              in the b-th of an epoch's B steps                      (equation 3)
    q ← s_max (cosh(s e) + 1) / (s (cosh e + 1)) q               the gradient of e, freed of s's annealing              (equation 4)
    L + c Σ a_l,i (1 − a_l,i) / Σ (1 − a_l,i)                    few units that are not used yet; a in the brackets: as above     (equation 5)

When a task is over its attention is kept as the limit s → ∞, one bit a unit, e > 0: so what rests does so exactly, and what earlier tasks
answer stays what it was, bit for bit. Outputs rest by the classes that competed. Running statistics are kept for each task. The optimiser's
moments are carried from task to task, those of the attention's e included (``Training(reset_optimizer=True)`` begins anew).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..core.contexts import Spec, Step, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Method, Traits
from ..core.objective import active_classes
from ..core.segments import Batch
from ..core.stream import Scenario
from ..core.vector import Vector
from ..nets.gated import Gated

__all__ = ["HAT"]

MOST = 6.0  # |e|, as in the authors' code
EXPONENT = 50.0  # |s e| in cosh, likewise


@final
@dataclass(frozen=True)
class Attended:
    """The attentions of the tasks that are over, and where the present one stands."""

    masks: list[list[Tensor]]  # of each task and hidden layer, [n_l], true: used
    used: list[Tensor]  # by any of them
    outputs: Tensor  # [C], true: competed in an earlier task
    fixed: Vector  # true where a weight rests
    buffers: list[dict[str, Tensor]]  # of each task, at its end
    epoch: int = 1  # B
    step: int = 0


@final
@dataclass(frozen=True)
class HAT(Method):
    """Each task uses, and then keeps, units of its own choice.

    Args:
        strength: c, how dear a unit is that no task uses yet.
        s_max: s at the end of an epoch, where the attention is nearly hard.
    """

    strength: float = 0.75
    s_max: float = 400.0

    name: ClassVar[str] = "hat"
    summary: ClassVar[str] = "Hard Attention to the Task: each task uses, and then keeps, units of its own choice"
    paper: ClassVar[str] = "Serrà et al. 2018, arXiv 1801.01423"
    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "its network has an attention on every unit; there is no amount of that to turn down"

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)
        if not self.s_max > 1:
            raise MethodError(f"hat: s_max {self.s_max}: expected more than 1; below, the attention is never hard")

    @property
    def traits(self) -> Traits:
        return Traits(masks=True, counts_steps=True, ranks=True)

    def network(self, net: nn.Module) -> nn.Module:
        return Gated(net)

    def init(self, theta: Vector, spec: Spec) -> Attended:
        e = [t for name, t in theta if name.startswith("embeddings.")]
        none = [torch.zeros(len(t), dtype=torch.bool, device=t.device) for t in e]
        fixed = theta.map(lambda t: torch.zeros_like(t, dtype=torch.bool, requires_grad=False))
        return Attended(
            [], none, torch.zeros(spec.outputs, dtype=torch.bool, device=theta.tensors[0].device), fixed, []
        )

    def begin(self, state: Attended, context: TaskContext) -> Attended:
        assert isinstance(context.net, Gated)
        for e in context.net.embeddings:
            e.copy_(torch.randn(e.shape, generator=context.generator, device=context.generator.device))
        epoch = context.epoch or 1
        context.net.s = torch.full_like(context.net.s, self._s(0, epoch))
        return replace(state, epoch=epoch, step=0)

    def _s(self, step: int, epoch: int) -> float:
        if epoch == 1:
            return self.s_max
        low = 1 / self.s_max
        return low + (self.s_max - low) * (step % epoch) / (epoch - 1)

    def loss(self, state: Attended, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        assert isinstance(context.net, Gated)
        free = [~u for u in state.used]
        a = context.net.attention()
        dear = torch.stack([(one * f).sum() for one, f in zip(a, free)]).sum()
        return self.strength * dear / torch.stack([f.sum() for f in free]).sum().clamp(min=1)

    def gradient(self, state: Attended, grads: Vector, context: StepContext) -> Vector:
        s = self._s(state.step, state.epoch)
        changed = []
        for (name, p), g, fixed in zip(context.theta, grads.tensors, state.fixed.tensors):
            if name.startswith("embeddings."):
                cosh = torch.cosh((s * p).clamp(-EXPONENT, EXPONENT))
                changed.append(g * (self.s_max / s) * (cosh + 1) / (torch.cosh(p) + 1))
            else:
                changed.append(g.masked_fill(fixed, 0.0))
        return Vector(grads.names, changed)

    def project(self, state: Attended, step: Step, context: StepContext) -> None:
        for (name, p), before, fixed in zip(step.after, step.before.tensors, state.fixed.tensors):
            if name.startswith("embeddings."):
                p.clamp_(-MOST, MOST)
            else:
                p.copy_(torch.where(fixed, before, p))  # momentum and decay move what has no gradient as well

    def track(self, state: Attended, step: Step, context: StepContext) -> Attended:
        assert isinstance(context.net, Gated)
        s = context.net.s
        context.net.s = torch.full_like(s, self._s(state.step + 1, state.epoch))  # of the next step
        return replace(state, step=state.step + 1)

    def end(self, state: Attended, context: TaskContext) -> Attended:
        assert isinstance(context.net, Gated)
        own = [e > 0 for e in context.net.embeddings]
        used = [a | b for a, b in zip(state.used, own)]
        active = active_classes(context.objective)
        outputs = state.outputs | (True if active is None else active)
        fixed = state.fixed.dict()
        for place in context.net.places():
            rows = outputs if place.to is None else used[place.to]
            at = fixed[place.name]
            now = rows.view(-1, *[1] * (at.dim() - 1))
            if place.leads_from and place.origin is not None:
                columns = used[place.origin].repeat_interleave(place.each)
                now = now & columns.view(1, -1, *[1] * (at.dim() - 2))
            fixed[place.name] = now.expand_as(at).clone()
        buffers = {name: b.detach().clone() for name, b in context.net.named_buffers()}
        return replace(
            state,
            masks=[*state.masks, own],
            used=used,
            outputs=outputs,
            fixed=Vector.from_dict(fixed),
            buffers=[*state.buffers, buffers],
        )

    def resize(self, state: Attended, mapping: IndexMap, theta: Vector) -> Attended:
        raise MethodError(
            "hat shares a network of fixed size among the tasks: it cannot be chained with one that grows"
        )

    def answering(self, state: Attended) -> Attended:
        return replace(state, fixed=Vector((), []))

    def predict(self, state: Attended | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if task is None:
            raise MethodError("hat needs the task of the inputs: predict(x, task)")
        if state is None:
            return net(x)  # type: ignore[no-any-return]
        if task >= len(state.masks):  # not learnt yet: the network as it is, its attention hard
            assert isinstance(net, Gated)
            return net(x, [e > 0 for e in net.embeddings])  # type: ignore[no-any-return]
        return functional_call(net, state.buffers[task], (x, state.masks[task]))  # type: ignore[no-any-return]
