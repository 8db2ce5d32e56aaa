"""Expert Gate (Aljundi, Chakravarty & Tuytelaars 2017, arXiv 1611.06194): a network a task, and an autoencoder a task that knows from
the input alone whose it is.

    p_i = softmax(−er_i / t)                              er_i: the error of the i-th task's autoencoder on the input    (equation 3)
    Rel(T_k, T_a) = 1 − (Er_a − Er_k) / Er_k              Er: mean errors on examples of task k                           (equation 4)

A new task's expert begins with the weights of the most related one, T_a. Where the relatedness is above the threshold it is
trained with Learning without Forgetting (arXiv 1606.09282), staying close to what that expert answers; below, it is fine-tuned.
At test time only the expert that the gate chooses is run, so the cost of an answer grows with the gates alone, which are small. Where the
task is known the gate is not asked.

The paper's gates read the features of a trained AlexNet; here they read the inputs. er is measured above its least possible value (see
`lifelong.parts.autoencoder`), on a tenth of the task's training examples, which its own gate has not seen. So Er is a Kullback-Leibler
divergence, and not the cross-entropy of the paper, which stays large for the best autoencoder: a threshold of 0.85 on it is far stricter than
the same number in the paper, and fewer tasks are trained with Learning without Forgetting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..core.contexts import Spec, StepContext, TaskContext
from ..core.errors import MethodError
from ..core.examples import Examples
from ..core.growth import IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Method, Traits
from ..core.modes import evaluating
from ..core.segments import Batch
from ..core.vector import Vector
from ..parts.autoencoder import Autoencoder, Scale, fitted
from ..parts.distillation import answers, distance, grown, kept

__all__ = ["ExpertGate"]


@final
@dataclass(frozen=True)
class Experts:
    """What is kept of each task; the gate and the row of relatedness of the present one are there from its beginning."""

    nets: list[dict[str, Tensor]]  # weights and buffers
    classes: list[Tensor]  # [C] the outputs that a task's labels use
    gates: list[Autoencoder]
    related: list[Tensor]  # [k] of the k-th task, to each one before it
    scale: Scale | None = None
    teacher: int | None = None  # the expert that the present task stays close to


@final
@dataclass(frozen=True)
class ExpertGate(Method):
    """A network a task, chosen by autoencoders where the task is not known.

    Args:
        code: hidden units of an autoencoder, at most half as many as there are inputs.
        threshold: relatedness from which on a task is trained with Learning without Forgetting.
        strength: λ of the distillation.
        temperature: T of the distillation, and t of the gate's softmax.
        min_probability: run all experts whose probability is at least this, and weigh their answers by it; none: the most probable only.
        gate_epochs, gate_lr, gate_batch: training of an autoencoder.
    """

    code: int = 100
    threshold: float = 0.85
    strength: float = 1.0
    temperature: float = 2.0
    min_probability: float | None = None
    gate_epochs: int = 5
    gate_lr: float = 0.01
    gate_batch: int = 32

    name: ClassVar[str] = "expert_gate"
    summary: ClassVar[str] = (
        "Expert Gate: a network a task, chosen from the input by autoencoders; the most related one starts the next"
    )
    paper: ClassVar[str] = "Aljundi, Chakravarty & Tuytelaars 2017, arXiv 1611.06194"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"code": 4, "gate_epochs": 1},)
    neutral: ClassVar[None] = None
    no_neutral: ClassVar[str] = "every task has a network of its own; there is no amount of that to turn down"
    apart: ClassVar[tuple[str, ...]] = ("nets", "gates")

    def __post_init__(self) -> None:
        not_negative(self.name, strength=self.strength)
        if (
            self.code < 1
            or self.gate_epochs < 1
            or self.gate_batch < 1
            or not self.gate_lr > 0
            or not self.temperature > 0
        ):
            raise MethodError(
                f"expert_gate: code {self.code}, gate_epochs {self.gate_epochs}, gate_batch {self.gate_batch}, gate_lr "
                f"{self.gate_lr}, temperature {self.temperature}: expected at least 1, and more than 0"
            )
        if self.min_probability is not None and not 0 < self.min_probability <= 1:
            raise MethodError(f"expert_gate: min_probability {self.min_probability}: expected a probability above 0")

    @property
    def traits(self) -> Traits:
        return Traits(restarts=True, compares=True, ranks=True)

    def init(self, theta: Vector, spec: Spec) -> Experts:
        return Experts([], [], [], [])

    def begin(self, state: Experts, context: TaskContext) -> Experts:
        scale = (
            state.scale if state.scale is not None else Scale.of(context.examples, context.theta.tensors[0].detach())
        )
        n = len(context.examples)
        order = torch.randperm(n, generator=context.generator, device=context.generator.device).cpu()
        k = max(1, n // 10)
        held = context.examples.subset(order[:k])
        rest = context.examples.subset(order[k:] if n > 1 else order)
        hidden = min(self.code, max(1, int(torch.tensor(context.examples.shape).prod()) // 2))
        gate = fitted(rest, scale, hidden, self.gate_epochs, self.gate_lr, self.gate_batch, context.generator)
        context.costs.forward += self.gate_epochs * len(rest)
        context.costs.backward += self.gate_epochs * len(rest)
        er = _errors([*state.gates, gate], held, scale)
        context.costs.forward += len(held) * (1 + len(state.gates))
        related = 1 - (er[:-1] - er[-1]) / er[-1].clamp(min=torch.finfo(er.dtype).tiny)
        teacher = None
        if context.index:
            context.reset()
            a = int(related.argmax())
            context.net.load_state_dict(state.nets[a])
            teacher = a if float(related[a]) > self.threshold else None
        return replace(
            state, gates=[*state.gates, gate], related=[*state.related, related], scale=scale, teacher=teacher
        )

    def loss(self, state: Experts, batch: Batch, output: Tensor, context: StepContext) -> Tensor:
        if state.teacher is None:
            return output.new_zeros(())
        y = answers(context.net, state.nets[state.teacher], batch.x)
        return self.strength * distance(output, y, state.classes[state.teacher], self.temperature).mean()

    def extra_passes(self, state: Experts, own: int, learnt: int) -> tuple[int, int]:
        return (0 if state.teacher is None else learnt, 0)

    def end(self, state: Experts, context: TaskContext) -> Experts:
        outputs = state.classes[0] if state.classes else _like(context)
        classes = torch.zeros_like(outputs)
        classes[context.examples.labels.unique().to(classes.device)] = True
        return replace(state, nets=[*state.nets, kept(context.net)], classes=[*state.classes, classes], teacher=None)

    def resize(self, state: Experts, mapping: IndexMap, theta: Vector) -> Experts:
        nets = [grown(own, mapping, theta) or own for own in state.nets]
        classes = state.classes
        if mapping.outputs is not None:
            more = mapping.outputs
            classes = [torch.cat([c, c.new_zeros(more - len(c))]) for c in classes]
        return replace(state, nets=nets, classes=classes)

    def probabilities(self, state: Experts, x: Tensor) -> Tensor:
        """Of each task that is over, for inputs ``[B, ...]``: ``[B, tasks]``."""
        assert state.scale is not None
        z = state.scale(x)
        er = torch.stack([gate.error(z) for gate in state.gates[: len(state.nets)]], 1)
        return (-er / self.temperature).softmax(1)

    def predict(self, state: Experts | None, net: nn.Module, x: Tensor, task: int | None) -> Tensor:
        if state is None or not state.nets:  # before the first task
            return net(x)  # type: ignore[no-any-return]
        if task is not None and task < len(state.nets):
            return functional_call(net, state.nets[task], (x,))  # type: ignore[no-any-return]
        p = self.probabilities(state, x)
        best = p.argmax(1)
        chosen = torch.zeros_like(p, dtype=torch.bool).scatter_(1, best[:, None], True)
        if self.min_probability is not None:
            chosen |= p >= self.min_probability
        scores = next(net.parameters()).new_zeros(x.shape[0], len(state.classes[0]))
        alone = chosen.sum(1, keepdim=True) == 1
        # what is exported as a program cannot choose what it runs: there all experts answer all inputs
        every = torch.compiler.is_exporting()
        for k in range(len(state.nets)) if every else chosen.any(0).nonzero().flatten().tolist():
            rows: Any = slice(None) if every else chosen[:, k].nonzero().flatten()
            f = functional_call(net, state.nets[k], (x[rows],)).masked_fill(~state.classes[k], float("-inf"))
            # what one expert answers are its logits; what several do, their probabilities, weighed
            said = torch.where(alone[rows], f, p[rows, k, None] * f.softmax(1))
            scores[rows] += said.masked_fill(~chosen[rows, k, None], 0.0) if every else said
        return scores

    def parameters(self, state: Any, net: nn.Module) -> int:
        each: int = sum(p.numel() for p in net.parameters())
        if state is None or not state.nets:
            return each
        gates: list[Autoencoder] = state.gates[: len(state.nets)]
        return each * len(state.nets) + sum(t.numel() for gate in gates for t in gate.tensors)


def _like(context: TaskContext) -> Tensor:
    """False for each output."""
    x = next(context.examples.all(1)).x
    p = context.theta.tensors[0]
    with evaluating(context.net):
        return torch.zeros_like(
            context.net(x.to(p.device, p.dtype if x.is_floating_point() else None))[0], dtype=torch.bool
        )


def _errors(gates: list[Autoencoder], examples: Examples, scale: Scale) -> Tensor:
    """Mean errors, ``[gates]``."""
    total = torch.stack([g.error(scale(c.x)).sum() for c in examples.all() for g in gates]).view(-1, len(gates))
    return total.sum(0) / len(examples)
