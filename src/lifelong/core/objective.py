"""What outputs are held to: the loss of each example, its score, and what methods ask of its distribution.

A task has one objective. The core asks an objective and knows no loss of its own; classification is the first of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from . import tree
from .errors import MethodError

__all__ = ["Classification", "Factors", "Labels", "Measure", "Objective", "active_classes", "labels_of"]

Factors = Sequence[tuple[Tensor, Tensor | None]]  # (v [B, ...] as the outputs are, w [B] or None: 1) each


@final
@dataclass(frozen=True)
class Measure:
    """What the matrix R holds."""

    name: str
    unit: str = ""
    higher_is_better: bool = True
    low: float | None = None
    high: float | None = None


class Objective(ABC):
    """Says of outputs how they are held to targets. Outputs and targets are trees of B examples (`lifelong.core.tree`).

    `losses` is needed; what else an objective does not offer is refused by name where a method needs it.
    """

    measure: ClassVar[Measure]

    @abstractmethod
    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """The negative log-likelihood of each example, ``[B]``."""

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Its mean, ``[]``."""
        return self.losses(outputs, targets).mean()

    def scores(self, outputs: Any, targets: Any) -> Tensor:
        """What the measure is the mean of, ``[B]``."""
        raise self._lacks("scores")

    def divergence(self, outputs: Any, teacher: Any, temperature: float = 1.0) -> Tensor:
        """How far the answers are from those of a teacher, ``[B]``: a Kullback-Leibler divergence of the distributions at a temperature,
        but for what does not depend on the outputs."""
        raise self._lacks("divergence")

    def sample(self, outputs: Any, generator: torch.Generator) -> Any:
        """Targets drawn from the distribution that the outputs stand for."""
        raise self._lacks("sample")

    def factors(self, outputs: Any) -> Factors:
        """Pairs (v, w) with  E_y[∂ℓ ∂ℓᵀ] = Σ w v vᵀ,  ℓ(y) being the loss of a target y and ∂ by the outputs: the exact Fisher information
        of the outputs, where it has few factors."""
        raise self._lacks("factors")

    def pull(self, outputs: Any, targets: Any) -> Tensor:
        """−∂ℓ/∂f of each example's loss by its outputs f."""
        with torch.enable_grad():
            f = outputs.detach().requires_grad_()
            g: Tensor = torch.autograd.grad(self.losses(f, targets).sum(), f)[0]
        return -g

    def counted(self, outputs: Any) -> Any:
        """The outputs as they count: those that are not active at −∞."""
        return outputs

    def joined(self, targets: Sequence[Any]) -> Any:
        """The targets of several groups of examples, one behind the other."""
        return tree.concat(targets)

    def own(self, targets: Any) -> Any:
        """Targets as they are kept for later, when another task's objective may be asked: with what this one knows beyond them."""
        return targets

    @property
    def offers(self) -> frozenset[str]:
        """What it offers beyond `losses`."""
        names = ("scores", "divergence", "sample", "factors")
        return frozenset(n for n in names if getattr(type(self), n) is not getattr(Objective, n))

    def _lacks(self, what: str) -> MethodError:
        return MethodError(
            f"the objective {type(self).__name__} offers no {what}: define it there, or choose a method that needs none"
        )


class Labels(NamedTuple):
    """Class indices with the classes that each example is decided among, where examples of several tasks come together."""

    y: Tensor  # [B]
    active: Tensor  # [B, C], true: active


@final
@dataclass(frozen=True, eq=False)
class Classification(Objective):
    """One class an example: outputs are logits ``[B, C]``, targets class indices ``[B]`` (or `Labels`), the loss is cross-entropy.

    Args:
        active: the classes among which examples are decided, ``[C]`` or ``[B, C]``; the other outputs count as −∞. Default: all.
    """

    active: Tensor | None = None

    measure: ClassVar[Measure] = Measure("accuracy", low=0.0, high=1.0)

    def __init_subclass__(cls) -> None:
        raise MethodError(
            f"{cls.__name__} derives from Classification, whose `loss` would not ask its `losses`: derive it from Objective, and hold a Classification"
        )

    def logits(self, outputs: Tensor, targets: Any = None) -> Tensor:
        """The outputs, those that are not active at −∞."""
        active = targets.active if isinstance(targets, Labels) else self.active
        return outputs if active is None else outputs.masked_fill(~active, float("-inf"))

    def counted(self, outputs: Tensor) -> Tensor:
        return self.logits(outputs)

    def losses(self, outputs: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(self.logits(outputs, targets), labels_of(targets), reduction="none")

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(self.logits(outputs, targets), labels_of(targets))

    def scores(self, outputs: Tensor, targets: Any) -> Tensor:
        return self.logits(outputs, targets).argmax(1) == labels_of(targets)

    def divergence(self, outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
        log, p = (self.logits(f).div(temperature).log_softmax(1) for f in (outputs, teacher))
        return -(p.exp() * log.masked_fill(p.isneginf(), 0.0)).sum(1)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.probabilities(outputs), 1, generator=generator).squeeze(1)

    def factors(self, outputs: Tensor) -> Factors:
        return _EachClass(self.probabilities(outputs))

    def pull(self, outputs: Tensor, targets: Any) -> Tensor:
        return F.one_hot(labels_of(targets), outputs.shape[1]) - self.probabilities(outputs, targets)

    def probabilities(self, outputs: Tensor, targets: Any = None) -> Tensor:
        """q ``[B, C]``, in at least single precision: in half precision 1 − q would often be 0."""
        f = self.logits(outputs, targets)
        return f.to(torch.promote_types(f.dtype, torch.float32)).softmax(1)

    def joined(self, targets: Sequence[Any]) -> Any:
        if not any(isinstance(t, Labels) for t in targets):
            return torch.cat(list(targets))
        C = next(t.active.shape[1] for t in targets if isinstance(t, Labels))
        each = [t if isinstance(t, Labels) else self._labels(t, C) for t in targets]
        return Labels(torch.cat([t.y for t in each]), torch.cat([t.active for t in each]))

    def own(self, targets: Any) -> Any:
        return (
            targets
            if isinstance(targets, Labels) or self.active is None
            else self._labels(targets, self.active.shape[-1])
        )

    def _labels(self, y: Tensor, C: int) -> Labels:
        active = torch.ones(C, dtype=torch.bool, device=y.device) if self.active is None else self.active
        return Labels(y, active.expand(len(y), -1))


def labels_of(targets: Any) -> Tensor:
    """The class indices of targets."""
    y: Tensor = targets.y if isinstance(targets, Labels) else targets
    return y


def active_classes(objective: Objective) -> Tensor | None:
    """The classes among which an objective decides; None: all, or it decides among none."""
    return objective.active if isinstance(objective, Classification) else None


@final
class _EachClass(Factors):
    """(e_c − q, q_c) of each class c that is active for any example, made when it is asked for: of a thousand classes all together would
    fill the memory."""

    def __init__(self, q: Tensor, classes: list[int] | None = None) -> None:
        self.q = q
        self.classes = (q > 0).any(0).nonzero().flatten().tolist() if classes is None else classes

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return _EachClass(self.q, self.classes[k])
        c = self.classes[k]
        v = -self.q
        v[:, c] += 1
        return v, self.q[:, c]

    def of(self, i: int) -> Factors:
        """Those of example i."""
        return _EachClass(self.q[i : i + 1], self.classes)
