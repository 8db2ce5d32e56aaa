"""Growth on demand (Sodhani, Chandar & Bengio 2020, arXiv 1811.07017): a network that grows when a task is too much for it.

After a task the accuracy on its training examples is looked at. Where it is below the threshold, every hidden layer of n units becomes
wider by Net2Net (`lifelong.nets.widen`), without changing what the network computes, and the task is trained on. The paper does so
once, from 128 to 256 units of an LSTM, beside GEM: ``gem+grow``. Whatever other methods keep follows the growth.

The paper's code begins a new Adam and puts noise on all units; here the moments follow, and noise is on the copies only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar, final

from ..core.contexts import Spec, TaskContext
from ..core.errors import MethodError
from ..core.growth import Growth, IndexMap
from ..core.hyperparameters import not_negative
from ..core.method import Method, Traits
from ..core.random import derive
from ..core.vector import Vector
from ..nets.net2net import units, widenable

__all__ = ["Grow"]


@final
@dataclass(frozen=True)
class Grown:
    """How many layers were widened so far, each time it was one counted."""

    seed: int
    operations: int = 0


@final
@dataclass(frozen=True)
class Grow(Method):
    """Widens the network when a task's training accuracy is not good enough, and trains on.

    Args:
        threshold: the accuracy on the task's training examples, 0 to 1, below which the network grows; 0: it never does.
        times: how often it may grow, over all tasks.
        factor: units of a layer after a growth, per unit before.
        layers: the layers to widen, by name; none: all that lead to other layers (where the network has no `grow` of its own).
        noise: on what leads to the copies, in units of the root mean square of the layer's weights, so that copies part.
    """

    threshold: float = 0.95
    times: int = 1
    factor: float = 2.0
    layers: tuple[str, ...] = ()
    noise: float = 0.1

    name: ClassVar[str] = "grow"
    summary: ClassVar[str] = (
        "Growth on demand: a wider network, by Net2Net, where a task is too much for it; beside another method, as gem+grow"
    )
    paper: ClassVar[str] = "Sodhani, Chandar & Bengio 2020, arXiv 1811.07017; Net2Net: arXiv 1511.05641"
    neutral: ClassVar[dict[str, Any]] = {"threshold": 0.0}

    def __post_init__(self) -> None:
        not_negative(self.name, noise=self.noise)
        if not 0 <= self.threshold <= 1 or self.times < 0 or not self.factor > 1:
            raise MethodError(
                f"grow: threshold {self.threshold}, times {self.times}, factor {self.factor}: expected a threshold of 0 to 1, times "
                "of 0 or more, a factor above 1"
            )

    @property
    def traits(self) -> Traits:
        return Traits(ranks=True)

    @property
    def acts(self) -> frozenset[str]:
        return super().acts if self.threshold and self.times else frozenset()

    def init(self, theta: Vector, spec: Spec) -> Grown:
        return Grown(spec.seed)

    def begin(self, state: Grown, context: TaskContext) -> Grown:
        if not state.operations:
            self._layers(context, tried=True)  # that it can grow is found out before the first step
        return state

    def expand(self, state: Grown, context: TaskContext, accuracy: float) -> list[Growth]:
        layers = self._layers(context)
        if accuracy >= self.threshold or state.operations >= self.times * len(layers):
            return []
        return [
            Growth(
                "wider",
                layer,
                ceil(units(context.net, layer) * self.factor),
                derive(state.seed, f"grow/{state.operations}/{layer}"),
                self.noise,
            )
            for layer in layers
        ]

    def resize(self, state: Grown, mapping: IndexMap, theta: Vector) -> Grown:
        widened = mapping.outputs is None and any(origin is not None for origin, _ in mapping.source.values())
        return replace(state, operations=state.operations + 1) if widened else state

    def _layers(self, context: TaskContext, tried: bool = False) -> tuple[str, ...]:
        if hasattr(context.net, "grow"):
            if not self.layers:
                raise MethodError(
                    f"grow: {type(context.net).__name__} grows by a method of its own: say which of its layers it can widen (layers)"
                )
            return self.layers
        p = context.theta.tensors[0]
        x = next(context.examples.all(8)).x if tried and len(context.examples) else None
        can = widenable(context.net, None if x is None else x.to(p.device, p.dtype if x.is_floating_point() else None))
        if not set(self.layers) <= set(can) or not can:
            raise MethodError(
                f"grow: {type(context.net).__name__} cannot widen {', '.join(self.layers) or 'any layer'}; it can widen "
                f"{', '.join(can) or 'none'} (see lifelong.nets.widen): name those, or use a network built of nn.Sequential"
            )
        return self.layers or can
