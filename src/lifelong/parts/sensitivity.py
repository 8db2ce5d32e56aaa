"""Sums of per-example gradients, exact and vectorised: how much the outputs depend on each weight.

All of them are sums over examples x of ``w |Jᵀv|ᵖ``, J being the Jacobian of the outputs f(x) by the weights, for
cotangents v and weights w that depend on f(x) alone. The Fisher information (`lifelong.parts.fisher`) has p = 2; Memory Aware Synapses
has  ``E_x |∂ ‖f‖²| = E_x |Jᵀ 2f|``,  one v, p = 1.

For a linear layer the gradient of one example is the outer product δ hᵀ, so that ``Σ |δ hᵀ|ᵖ`` is one matrix product,
``(|δ|ᵖ)ᵀ |h|ᵖ``, for all examples at once: no gradient of a single example is ever formed. Convolutions, normalisations and
embeddings have rules of their own; a network with anything else (or with tied weights) goes through `torch.func`, and one
with recurrent layers of torch's, or a flow that depends on the data, through one example after another.
Memory: at most `BYTES` for per-example gradients, by taking fewer examples at once.

The gradient must be squared before it is averaged: squaring the mean of a batch gives another quantity, which depends on
the batch size. Squares and sums are taken in at least single precision, whatever the weights' own: in bfloat16 a sum of a thousand small
terms stops growing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ..core.contexts import TaskContext
from ..core.errors import DataError, MethodError
from ..core.examples import Chunk, Examples
from ..core.modes import evaluating
from ..core.objective import Classification, Factors, Objective
from ..core.vector import Vector

__all__ = ["ROWS", "Cotangents", "Placed", "each_example_alone", "limited", "logits", "placed", "sensitivity"]

Cotangents = Callable[[Tensor, Tensor, Objective], Factors]  # of f [B, C], y [B] and what they are held to

BYTES = 64 * 2**20
ROWS = 512
# an estimate is reported beforehand that passes each example back so often, and so many examples in all; or so many one after another
MANY, IN_ALL, ALONE = 50, 100_000, 5_000


def _of(pairs: Factors, i: int) -> Factors:
    """Those of example i."""
    if hasattr(pairs, "of"):
        return pairs.of(i)  # type: ignore[no-any-return]
    return [(v[i : i + 1], None if w is None else w[i : i + 1]) for v, w in pairs]


def sensitivity(context: TaskContext, cotangents: Cotangents, power: Literal[1, 2], limit: int | None = None) -> Vector:
    """Mean over examples of ``Σ_k w_k |Jᵀv_k|ᵖ``, for the `(v_k, w_k)` that `cotangents` makes of logits and labels."""
    net, theta = context.net, context.theta
    total, count = theta.sums(), 0
    each_example_alone(net)
    examples = limited(context, limit)
    own = examples.part(context.ranks)
    with evaluating(net):
        ruled = None
        if len(own):
            few = placed(next(own.all(8)), context)
            owners = _owners(net, theta)
            ruled = None if owners is None else _checked(net, theta, owners, few.x)
            if limit is None:
                _priced(context, few, len(examples), cotangents, ruled)
        wanted = _few(cotangents) if context.trial else cotangents
        for chunk in own.all(_rows(ruled, theta)) if len(own) else ():
            given = placed(chunk, context)
            if ruled is None:
                passes = _by_func(net, theta, given, wanted, power, total)
            else:
                passes = _by_rules(net, ruled, given, wanted, power, total)
            n = len(given.y)
            count += n
            context.costs.forward += n
            context.costs.backward += n * passes
    context.ranks.sum_(total.tensors)
    count = context.ranks.total(count)
    if count != len(examples):
        raise DataError(
            f"{count} of {len(examples)} examples came when they were read again: expected data that can be read more than once "
            "(a loader without drop_last, a list)"
        )
    return total.mul_(1 / count)


def each_example_alone(net: nn.Module) -> None:
    """Raises `MethodError` where the examples of a batch have a say in each other's outputs."""
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise MethodError(
                f"batch norm {name!r} keeps no running statistics, so that an example's output depends on the rest of its batch and the example "
                "has no gradient of its own, from which importance is made: use track_running_stats=True, or GroupNorm or LayerNorm"
            )


def _few(cotangents: Cotangents) -> Cotangents:
    """The first two of each."""
    return lambda f, y, objective: cotangents(f, y, objective)[:2]


def _priced(context: TaskContext, given: Placed, count: int, cotangents: Cotangents, ruled: Ruled | None) -> None:
    """Reports an estimate that takes very much longer than training, before it starts."""
    if context.trial:
        count = context.count
    with _put_back(context.generator):
        passes = len(given.pairs(cotangents, logits(context.net, given.x)))
    alone = ruled is None and _unbatched(context.net)
    if passes == 1 or (passes * count < ALONE if alone else passes < MANY or passes * count < IN_ALL):
        return
    how = (
        "one example after another, as its recurrent layers cannot be differentiated in batches"
        if alone
        else f"which takes about as long as {passes // 2} epochs of training"
    )
    context.warn(
        f"the importance passes each of {count:,} examples back {passes:,} times, once for each class, {how}: importance='sampled' takes one "
        "pass, and fisher_examples=1000 looks at so many examples only"
    )


@contextmanager
def _put_back(draws: torch.Generator) -> Iterator[None]:
    """The state of `draws` afterwards as it was."""
    state = draws.get_state()
    try:
        yield
    finally:
        draws.set_state(state)


def _unbatched(net: nn.Module) -> bool:
    """Whether examples pass one after another: torch's recurrent layers cannot be vectorised over examples, and `functional_call` leaves other
    tensors behind in a module that has two names."""
    aliases = len(list(net.named_modules(remove_duplicate=False))) > len(list(net.modules()))
    return aliases or any(isinstance(m, nn.RNNBase) for m in net.modules())


def limited(context: TaskContext, limit: int | None) -> Examples:
    if limit is None or limit >= len(context.examples):
        return context.examples
    draws = torch.randperm(len(context.examples), generator=context.generator, device=context.generator.device)
    return context.examples.subset(draws[:limit].cpu())


@final
class Placed(NamedTuple):
    """Some examples where the network is, in its precision, and what they are held to."""

    x: Tensor
    y: Tensor
    objective: Objective

    def pairs(self, cotangents: Cotangents, f: Tensor) -> Factors:
        """What `cotangents` makes of the network's outputs f for them."""
        return cotangents(self.objective.counted(f.detach()), self.y, self.objective)


def placed(chunk: Chunk, context: TaskContext) -> Placed:
    """Examples of a task, for its network."""
    p = context.theta.tensors[0]
    x = chunk.x.to(p.device, p.dtype if chunk.x.is_floating_point() else None)
    objective = context.objective if chunk.mask is None else Classification(chunk.mask.to(p.device))
    return Placed(x, chunk.y.to(p.device), objective)


# --- by rules: one matrix product a layer -------------------------------------------------------------------------------
Owners = dict[nn.Module, list[tuple[str, str]]]  # modules, each with (own name, name in θ) of its weights


class Ruled(NamedTuple):
    """The modules whose rules hold for a network, and those of them whose gradients of single examples must be formed."""

    owners: Owners
    formed: list[nn.Module]


def _owners(net: nn.Module, theta: Vector) -> Owners | None:
    """The modules that own the weights, each with its (own name, name in θ); None where some weight has no rule."""
    owners: Owners = {}
    count = 0
    ours = {id(p) for p in theta.tensors}
    for prefix, module in net.named_modules():
        for own, p in module.named_parameters(recurse=False):
            if id(p) in ours:
                if type(module) not in _RULES or own not in ("weight", "bias"):
                    return None
                if isinstance(module, nn.Conv1d | nn.Conv2d) and (
                    module.padding_mode != "zeros" or isinstance(module.padding, str)
                ):
                    return None
                name = f"{prefix}.{own}" if prefix else own
                if name not in theta.names:
                    return None  # tied
                owners.setdefault(module, []).append((own, name))
                count += 1
    return owners if count == len(theta.names) and _each_once(net) else None


def _each_once(net: nn.Module) -> bool:
    """Whether no parameter is reachable by two names."""
    names = [id(p) for _, p in net.named_parameters(remove_duplicate=False)]
    return len(names) == len(set(names))


def _rows(ruled: Ruled | None, theta: Vector) -> int:
    """How many examples at once, so that the gradients of single ones take at most `BYTES`."""
    largest = (
        len(theta)
        if ruled is None
        else max((p.numel() for m in ruled.formed for p in m.parameters(recurse=False)), default=1)
    )
    return max(1, min(ROWS, BYTES // (max(4, theta.tensors[0].element_size()) * largest)))


def _checked(net: nn.Module, theta: Vector, owners: Owners, x: Tensor) -> Ruled | None:
    """Whether the rules hold for this network: on a few examples, Σ_i r_i g_i by rules, for random r and cotangents, is what
    autograd says. A layer used twice, a weight used outside its layer, examples folded into another dimension: none holds."""
    with _recorded(owners) as calls, torch.enable_grad():
        f = logits(net, x)
    draws = torch.Generator().manual_seed(0)
    v = torch.randn(f.shape, generator=draws).to(f)
    r = torch.randn(len(x), generator=draws).to(f)
    if len({m for m, _, _ in calls}) < len(calls) or any(len(h) != len(x) or len(a) != len(x) for _, h, a in calls):
        return None
    sums = theta.sums()  # for their precision
    found = torch.autograd.grad(f, theta.tensors, r[:, None] * v, retain_graph=True, materialize_grads=True)
    truth = {name: _dense(g).to(s.dtype) for (name, s), g in zip(sums, found)}
    deltas = torch.autograd.grad(f, [a for _, _, a in calls], v, materialize_grads=True)
    # by a network that casts for itself, or in half precision
    rounded = any(a.dtype != sums.tensors[0].dtype for _, _, a in calls)
    slack = 100 if rounded else 1
    formed = []
    unseen = set(theta.names)
    for (module, h, _), delta in zip(calls, deltas):
        h, delta = _as(sums, h), _as(sums, delta)
        if not _rank_one(module, delta):
            formed.append(module)
        for (_, name), g in zip(owners[module], _RULES[type(module)](module, h, delta, owners[module])):
            ruled = torch.tensordot(_as(sums, r), g, 1)
            unseen.discard(name)
            largest = float(truth[name].abs().max())
            if not math.isfinite(largest):  # the network's weights are no numbers, which others say
                return None
            if not torch.allclose(ruled, truth[name], rtol=1e-3 * slack, atol=1e-4 * slack * largest + 1e-12):
                return None
    if any(bool(truth[name].any()) for name in unseen):  # used without a call of its module, or behind the hooks' back
        return None
    return Ruled(owners, formed)


def _as(sums: Vector, t: Tensor) -> Tensor:
    """In the precision of the sums."""
    return t.to(sums.tensors[0].dtype) if t.is_floating_point() else t


def _dense(gradient: Tensor) -> Tensor:
    """Embeddings may give sparse ones."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _rank_one(module: nn.Module, delta: Tensor) -> bool:
    return isinstance(module, nn.Linear) and delta.dim() == 2


@contextmanager
def _recorded(owners: Owners) -> Iterator[list[tuple[nn.Module, Tensor, Tensor]]]:
    """The calls of the owners' forward within: module, input, output."""
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        h = args[0] if args else next(iter(kwargs.values()))
        calls.append((module, h.detach(), output))
        return output.clone()  # so that an in-place activation does not change what is recorded

    hooks = [m.register_forward_hook(record, with_kwargs=True) for m in owners]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _by_rules(
    net: nn.Module,
    ruled: Ruled,
    given: Placed,
    cotangents: Cotangents,
    power: int,
    total: Vector,
) -> int:
    owners = ruled.owners
    with _recorded(owners) as calls, torch.enable_grad():
        f = logits(net, given.x)
    outputs = [a for _, _, a in calls]
    calls = [(module, _as(total, h), a) for module, h, a in calls]
    pairs = given.pairs(cotangents, f)
    sums = total.dict()
    rank_one: dict[nn.Module, Tensor] = {}  # Σ_k w_k |δ_k|ᵖ of the linear layers, whose h is the same for every k
    for i, (v, w) in enumerate(pairs):
        deltas = torch.autograd.grad(f, outputs, v.to(f.dtype), retain_graph=i + 1 < len(pairs), materialize_grads=True)
        for (module, h, _), delta in zip(calls, (_as(total, delta) for delta in deltas)):
            if _rank_one(module, delta):
                s = delta.abs() if power == 1 else delta.square()
                s = s if w is None else s * _as(total, w)[:, None]
                rank_one[module] = rank_one[module] + s if module in rank_one else s
                continue
            for (_, name), g in zip(owners[module], _RULES[type(module)](module, h, delta, owners[module])):
                g = g.abs() if power == 1 else g.square()
                sums[name] += g.sum(0) if w is None else torch.tensordot(_as(total, w), g, 1)
    for module, h, _ in calls:
        if module in rank_one:
            s = rank_one[module]
            for own, name in owners[module]:
                if own == "weight":
                    sums[name].addmm_(s.T, h.abs() if power == 1 else h.square())
                else:
                    sums[name] += s.sum(0)
    return len(pairs)


Own = list[tuple[str, str]]
Rule = Callable[[Any, Tensor, Tensor, Own], Iterator[Tensor]]  # module, input, δ of its output -> gradients [B, ...]


def _linear(module: nn.Linear, h: Tensor, delta: Tensor, own: Own) -> Iterator[Tensor]:
    h, delta = (t.unsqueeze(1) if t.dim() == 2 else t.flatten(1, -2) for t in (h, delta))  # [B, positions, units]
    for name, _ in own:
        yield torch.einsum("bti,bto->boi", h, delta) if name == "weight" else delta.sum(1)


def _conv(module: nn.Conv1d | nn.Conv2d, h: Tensor, delta: Tensor, own: Own) -> Iterator[Tensor]:
    two = isinstance(module, nn.Conv2d)
    if not two:
        h, delta = h.unsqueeze(2), delta.unsqueeze(2)
    geometry: list[Any] = [module.kernel_size, module.dilation, module.padding, module.stride]
    kernel, dilation, padding, stride = [g if two else (d, *g) for g, d in zip(geometry, (1, 1, 0, 1))]
    patches = F.unfold(h, kernel, dilation, padding, stride)  # [B, in·k, positions]
    B, groups = len(h), module.groups
    patches = patches.view(B, groups, -1, patches.shape[2])
    per_group = delta.reshape(B, groups, module.out_channels // groups, -1)
    for name, _ in own:
        if name == "weight":
            yield torch.einsum("bgkt,bgot->bgok", patches, per_group).reshape(B, *module.weight.shape)
        else:
            yield delta.flatten(2).sum(2)


def _normalised(module: nn.Module, h: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(h, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(h, module.num_groups, eps=module.eps)
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, var = (None if t is None else t.to(h.dtype) for t in (module.running_mean, module.running_var))
    return F.batch_norm(h, mean, var, eps=module.eps)


def _norm(module: nn.Module, h: Tensor, delta: Tensor, own: Own) -> Iterator[Tensor]:
    if isinstance(module, nn.LayerNorm):
        positions = tuple(range(1, h.dim() - len(module.normalized_shape)))
    else:
        positions = tuple(range(2, h.dim()))
    for name, _ in own:
        g = delta * _normalised(module, h) if name == "weight" else delta
        yield g.sum(positions) if positions else g


def _embedding(module: nn.Embedding, h: Tensor, delta: Tensor, own: Own) -> Iterator[Tensor]:
    B = len(h)
    words, delta = h.reshape(B, -1), delta.reshape(B, -1, delta.shape[-1])
    if module.padding_idx is not None:
        delta = delta * (words != module.padding_idx)[..., None]
    g = delta.new_zeros(B, module.num_embeddings, module.embedding_dim)
    yield g.scatter_add_(1, words[..., None].expand_as(delta), delta)


_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.LayerNorm: _norm,
    nn.GroupNorm: _norm,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Embedding: _embedding,
}


# --- anything else ------------------------------------------------------------------------------------------------------
def _by_func(
    net: nn.Module,
    theta: Vector,
    given: Placed,
    cotangents: Cotangents,
    power: int,
    total: Vector,
) -> int:
    weights = {name: p.detach() for name, p in theta}

    def along(weights: dict[str, Tensor], x1: Tensor, v1: Tensor) -> Tensor:
        f1: Tensor = functional_call(net, weights, (x1[None],))[0]
        return (f1 * v1).sum()

    x = given.x
    pairs = given.pairs(cotangents, logits(net, x))
    sums = total.dict()
    if _unbatched(net):
        return _one_by_one(net, theta, x, pairs, power, total)
    for k, (v, w) in enumerate(pairs):
        try:
            found = vmap(grad(along), (None, 0, 0))(weights, x, v)
        except (
            Exception
        ):  # an operator without a batching rule, a flow that depends on the data, memory: all of torch's own
            if k:
                raise
            return _one_by_one(net, theta, x, pairs, power, total)
        for name, g in found.items():
            g = _as(total, g)
            g = g.abs() if power == 1 else g.square()
            sums[name] += g.sum(0) if w is None else torch.tensordot(_as(total, w), g, 1)
    return len(pairs)


def _one_by_one(net: nn.Module, theta: Vector, x: Tensor, pairs: Factors, power: int, total: Vector) -> int:
    for i in range(len(x)):
        with torch.enable_grad():
            f = logits(net, x[i : i + 1])
        for k, (v, w) in enumerate(_of(pairs, i)):
            grads = torch.autograd.grad(
                f, theta.tensors, v.to(f.dtype), retain_graph=k + 1 < len(pairs), materialize_grads=True
            )
            for sum_, g in zip(total.tensors, grads):
                g = _as(total, _dense(g))
                g = g.abs() if power == 1 else g.square()
                sum_ += g if w is None else g * _as(total, w)[0]
    return len(pairs)


def logits(net: nn.Module, x: Tensor) -> Tensor:
    f = net(x)
    if not isinstance(f, Tensor) or f.dim() != 2:
        got = f"shape {list(f.shape)}" if isinstance(f, Tensor) else type(f).__name__
        raise MethodError(
            f"importance needs a network that gives logits [B, C]; got {got}: wrap it so that it does (L2 and SI need none)"
        )
    return f
