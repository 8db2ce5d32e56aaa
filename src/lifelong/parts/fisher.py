"""The Fisher information of the weights, and the Hessian's diagonal.

With f(x) the outputs, J their Jacobian by the weights, q = softmax f over the active outputs and e_y the one-hot of y,
∂ log q_y / ∂θ = Jᵀ(e_y − q):

* exact       F = E_x Σ_y q_y (∂ log q_y)²        one v for each class
* sampled     F = E_x (∂ log q_ŷ)²,  ŷ ~ q        one v
* argmax      the same with ŷ = argmax q
* empirical   the same with the true label

(`lifelong.parts.sensitivity` has the sums over examples.) The objective of the task says the factors, draws ŷ, and gives e_y − q.

The Fisher is that of one class an example, with the outputs as logits: labels of another kind are refused, and outputs that are
probabilities already are reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap

from ..core.contexts import TaskContext
from ..core.errors import DataError, MethodError
from ..core.modes import evaluating
from ..core.objective import Factors, Objective
from ..core.vector import Vector
from .sensitivity import ROWS, Placed, each_example_alone, limited, logits, placed, sensitivity

__all__ = ["Kind", "fisher", "hessian"]

Kind = Literal["exact", "sampled", "argmax", "empirical", "hessian"]


def fisher(context: TaskContext, kind: Kind = "exact", limit: int | None = None) -> Vector:
    """The diagonal of the Fisher information at the present weights, a mean over examples.

    Args:
        context: network, examples, objective, ranks.
        kind: which labels (see above), or "hessian" for the Hessian's diagonal.
        limit: use only so many examples, drawn at random.
    """
    if kind not in get_args(Kind):
        raise MethodError(f"importance {kind!r}: expected one of {', '.join(get_args(Kind))}")
    if kind == "hessian":
        return hessian(context, limit)

    def cotangents(f: Tensor, y: Tensor, objective: Objective) -> Factors:
        _one_class(f, y, context)
        if (
            f.shape[1] == 1 and context.steps is None
        ):  # in somebody's own loop; a learner's outputs may be more when classes come
            raise MethodError(
                "one output has the probability 1 whatever the weights, so that its Fisher information is 0 and nothing would be held: give the "
                "network two outputs, or take a method that asks no probabilities (mas, si, l2)"
            )
        if kind == "exact":
            return objective.factors(f)
        if kind == "sampled":
            y = objective.sample(f, context.generator)
        elif kind == "argmax":
            y = f.argmax(1)
        return [(objective.pull(f, y), None)]

    return sensitivity(context, cotangents, power=2, limit=limit)


def _one_class(f: Tensor, y: Tensor, context: TaskContext) -> None:
    """Whether the outputs can be the logits of one class an example, and the labels are such classes."""
    if y.is_floating_point() or y.dim() != 1:
        raise DataError(
            f"the Fisher information here is that of one class an example, and the labels are {y.dtype} {list(y.shape)} (a regression, or "
            "several labels an example): expected class indices [N]. mas, si and l2 make no assumption about the loss"
        )
    if f.shape[1] > 1:
        p = torch.where(f.isinf(), 0.0, f.detach().float())
        if bool((p >= 0).all() & ((p.sum(1) - 1).abs() < 1e-3).all()):
            context.warn(
                "the model's outputs are probabilities already (each row sums to 1), and ewc takes them for logits, so that its importance is "
                "that of a second softmax: let the model give logits, without the softmax, and train it with cross_entropy"
            )


def hessian(context: TaskContext, limit: int | None = None, most: int = 20_000) -> Vector:
    """The diagonal of the Hessian of the mean negative log-likelihood at the true labels, the lecture's second
    derivative; negative curvature counts as none.

    It takes one Hessian-vector product a weight, so it is for small networks. Where the logits are piecewise linear in each
    single weight (ReLU networks without tied weights) it equals the exact Fisher at every point that has a second derivative.

    Raises:
        MethodError: more than `most` weights.
    """
    net, theta = context.net, context.theta
    if len(theta) > most:
        raise MethodError(
            f"the Hessian's diagonal takes a product for each of {len(theta):,} weights, at most {most:,} are allowed: use "
            "importance 'exact', which equals it for ReLU networks"
        )
    weights = {name: p.detach() for name, p in theta}
    each_example_alone(net)
    examples = limited(context, limit)
    total = torch.zeros(len(theta), dtype=theta.sums().tensors[0].dtype, device=theta.tensors[0].device)
    with evaluating(net):
        for chunk in examples.part(context.ranks).all(ROWS):
            given = placed(chunk, context)
            _one_class(logits(net, given.x), given.y, context)

            def loss(weights: dict[str, Tensor], given: Placed = given) -> Tensor:
                return given.objective.losses(functional_call(net, weights, (given.x,)), given.y).sum()

            def second(e: Tensor, loss: Callable[[dict[str, Tensor]], Tensor] = loss) -> Tensor:
                direction = theta.like(e).map(lambda t, p: t.to(p.dtype), theta).dict()
                along = jvp(grad(loss), (weights,), (direction,))[1]
                return (torch.cat([g.reshape(-1).to(e.dtype) for g in along.values()]) * e).sum()

            for start in range(0, len(theta), 64):
                stop = min(start + 64, len(theta))
                basis = torch.zeros(stop - start, len(theta), dtype=total.dtype, device=total.device)
                basis[torch.arange(stop - start), torch.arange(start, stop)] = 1
                total[start:stop] += vmap(second)(basis)
            context.costs.forward += len(given.y) * len(theta)
            context.costs.backward += len(given.y) * len(theta)
    context.ranks.sum_([total])
    return theta.like(total.clamp(min=0) / len(examples))
