"""Importances of weights from per-example gradients, exact and vectorised.

All of them are sums over examples x of ``w |Jᵀv|ᵖ``, J being the Jacobian of the logits f(x) by the weights, for
cotangents v and weights w that depend on f(x) alone. With q = softmax f over the outputs that compete and e_y the
one-hot of y,  ∂ log q_y / ∂θ = Jᵀ(e_y − q):

* Fisher, exact       F = E_x Σ_y q_y (∂ log q_y)²        one v for each class
* Fisher, sampled     F = E_x (∂ log q_ŷ)²,  ŷ ~ q        one v
* Fisher, argmax      the same with ŷ = argmax q
* Fisher, empirical   the same with the true label
* MAS                 ``E_x |∂ ‖f‖²| = E_x |Jᵀ 2f|``      one v, p = 1

For a linear layer the gradient of one example is the outer product δ hᵀ, so that ``Σ |δ hᵀ|ᵖ`` is one matrix product,
``(|δ|ᵖ)ᵀ |h|ᵖ``, for all examples at once: no gradient of a single example is ever formed. Convolutions, normalisations and
embeddings have rules of their own; a network with anything else (or with tied weights) goes through `torch.func`, and one
with recurrent layers of torch's, or a flow that depends on the data, through one example after another.
Memory: at most `BYTES` for per-example gradients, by taking fewer examples at once.

The gradient must be squared before it is averaged: squaring the mean of a batch gives another quantity, which depends on
the batch size. Squares and sums are taken in at least single precision, whatever the weights' own: in bfloat16 a sum of a thousand small
terms stops growing.

The Fisher is that of one class an example, with the outputs as logits: labels of another kind are refused, and outputs that are
probabilities already are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from ..errors import DataError, MethodError
from ..method import Batch, Edge, cross_entropy
from ..stream import Chunk, Examples
from ..vector import Vector

__all__ = ["Cotangents", "Kind", "evaluating", "fisher", "hessian", "sensitivity"]

Kind = Literal["exact", "sampled", "argmax", "empirical", "hessian"]
Pairs = Sequence[tuple[Tensor, Tensor | None]]  # (v [B, C], w [B]) each
Cotangents = Callable[[Tensor, Tensor], Pairs]  # of f [B, C] and y [B]

BYTES = 64 * 2**20
ROWS = 512
# an estimate is reported beforehand that passes each example back so often, and so many examples in all; or so many one after another
MANY, IN_ALL, ALONE = 50, 100_000, 5_000


def fisher(edge: Edge, kind: Kind = "exact", limit: int | None = None) -> Vector:
    """The diagonal of the Fisher information at the present weights, a mean over examples.

    Args:
        edge: network, examples, the outputs that compete.
        kind: which labels (see above), or "hessian" for the Hessian's diagonal.
        limit: use only so many examples, drawn at random.
    """
    if kind not in get_args(Kind):
        raise MethodError(f"importance {kind!r}: expected one of {', '.join(get_args(Kind))}")
    if kind == "hessian":
        return hessian(edge, limit)

    def cotangents(f: Tensor, y: Tensor) -> Pairs:
        _one_class(f, y, edge)
        if (
            f.shape[1] == 1 and edge.steps is None
        ):  # in somebody's own loop; a learner's outputs may be more when classes come
            raise MethodError(
                "one output has the probability 1 whatever the weights, so that its Fisher information is 0 and nothing would be held: give the "
                "network two outputs, or take a method that asks no probabilities (mas, si, l2)"
            )
        q = f.to(torch.promote_types(f.dtype, torch.float32)).softmax(1)  # in half precision 1 − q would often be 0
        if kind == "exact":
            return EachClass(
                q, (q > 0).any(0).nonzero().flatten().tolist()
            )  # those that compete for any of these examples
        if kind == "sampled":
            y = torch.multinomial(q, 1, generator=edge.generator).squeeze(1)
        elif kind == "argmax":
            y = q.argmax(1)
        return [(F.one_hot(y, f.shape[1]) - q, None)]

    return sensitivity(edge, cotangents, power=2, limit=limit)


@final
class EachClass(Pairs):
    """(e_c − q, q_c) of each class c, made when it is asked for: of a thousand classes all together would fill the memory."""

    def __init__(self, q: Tensor, classes: list[int]) -> None:
        self.q, self.classes = q, classes

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return EachClass(self.q, self.classes[k])
        c = self.classes[k]
        v = -self.q
        v[:, c] += 1
        return v, self.q[:, c]


def _of(pairs: Pairs, i: int) -> Pairs:
    """Those of example i."""
    if isinstance(pairs, EachClass):
        return EachClass(pairs.q[i : i + 1], pairs.classes)
    return [(v[i : i + 1], None if w is None else w[i : i + 1]) for v, w in pairs]


def _one_class(f: Tensor, y: Tensor, edge: Edge) -> None:
    """Whether the outputs can be the logits of one class an example, and the labels are such classes."""
    if y.is_floating_point() or y.dim() != 1:
        raise DataError(
            f"the Fisher information here is that of one class an example, and the labels are {y.dtype} {list(y.shape)} (a regression, or "
            "several labels an example): expected class indices [N]. mas, si and l2 make no assumption about the loss"
        )
    if f.shape[1] > 1:
        p = torch.where(f.isinf(), 0.0, f.detach().float())
        if bool((p >= 0).all() & ((p.sum(1) - 1).abs() < 1e-3).all()):
            edge.say(
                "the model's outputs are probabilities already (each row sums to 1), and ewc takes them for logits, so that its importance is "
                "that of a second softmax: let the model give logits, without the softmax, and train it with cross_entropy"
            )


def sensitivity(edge: Edge, cotangents: Cotangents, power: Literal[1, 2], limit: int | None = None) -> Vector:
    """Mean over examples of ``Σ_k w_k |Jᵀv_k|ᵖ``, for the `(v_k, w_k)` that `cotangents` makes of logits and labels."""
    net, theta = edge.net, edge.theta
    total, count = theta.sums(), 0
    _each_example_alone(net)
    examples = _limited(edge, limit)
    own = examples.part(edge.ranks)
    with evaluating(net):
        ruled = None
        if len(own):
            few = _placed(next(own.all(8)), edge)
            owners = _owners(net, theta)
            ruled = None if owners is None else _checked(net, theta, owners, few.x)
            if limit is None:
                _priced(edge, few, len(examples), cotangents, ruled)
        wanted = _few(cotangents) if edge.trial else cotangents
        for chunk in own.all(_rows(ruled, theta)) if len(own) else ():
            x, y, mask = _placed(chunk, edge)
            if ruled is None:
                passes = _by_func(net, theta, x, y, mask, wanted, power, total)
            else:
                passes = _by_rules(net, ruled, x, y, mask, wanted, power, total)
            count += len(y)
            edge.costs.forward += len(y)
            edge.costs.backward += len(y) * passes
    edge.ranks.sum_(total.tensors)
    count = edge.ranks.total(count)
    if count != len(examples):
        raise DataError(
            f"{count} of {len(examples)} examples came when they were read again: expected data that can be read more than once "
            "(a loader without drop_last, a list)"
        )
    return total.mul_(1 / count)


def _each_example_alone(net: nn.Module) -> None:
    """Raises `MethodError` where the examples of a batch have a say in each other's outputs."""
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise MethodError(
                f"batch norm {name!r} keeps no running statistics, so that an example's output depends on the rest of its batch and the example "
                "has no gradient of its own, from which importance is made: use track_running_stats=True, or GroupNorm or LayerNorm"
            )


def _few(cotangents: Cotangents) -> Cotangents:
    """The first two of each."""
    return lambda f, y: cotangents(f, y)[:2]


def _priced(edge: Edge, chunk: Chunk, count: int, cotangents: Cotangents, ruled: Ruled | None) -> None:
    """Reports an estimate that takes very much longer than training, before it starts."""
    if edge.trial:
        count = edge.count
    x, y, mask = chunk
    with _put_back(edge.generator):
        passes = len(cotangents(_masked(_logits(edge.net, x).detach(), mask), y))
    alone = ruled is None and _unbatched(edge.net)
    if passes == 1 or (passes * count < ALONE if alone else passes < MANY or passes * count < IN_ALL):
        return
    how = (
        "one example after another, as its recurrent layers cannot be differentiated in batches"
        if alone
        else f"which takes about as long as {passes // 2} epochs of training"
    )
    edge.say(
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


def _limited(edge: Edge, limit: int | None) -> Examples:
    if limit is None or limit >= len(edge.examples):
        return edge.examples
    draws = torch.randperm(len(edge.examples), generator=edge.generator, device=edge.generator.device)
    return edge.examples.subset(draws[:limit].cpu())


def _placed(chunk: Chunk, edge: Edge) -> Chunk:
    """On the network's device and in its precision, with the outputs that compete."""
    p = edge.theta.tensors[0]
    x = chunk.x.to(p.device, p.dtype if chunk.x.is_floating_point() else None)
    return Chunk(x, chunk.y.to(p.device), edge.mask if chunk.mask is None else chunk.mask.to(p.device))


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """No dropout, batch statistics as they are at prediction; afterwards every module is in its mode again."""
    modes = {m: m.training for m in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _masked(f: Tensor, mask: Tensor | None) -> Tensor:
    return f if mask is None else f.masked_fill(~mask, float("-inf"))


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
        f = _logits(net, x)
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
    x: Tensor,
    y: Tensor,
    mask: Tensor | None,
    cotangents: Cotangents,
    power: int,
    total: Vector,
) -> int:
    owners = ruled.owners
    with _recorded(owners) as calls, torch.enable_grad():
        f = _logits(net, x)
    outputs = [a for _, _, a in calls]
    calls = [(module, _as(total, h), a) for module, h, a in calls]
    pairs = cotangents(_masked(f.detach(), mask), y)
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
    x: Tensor,
    y: Tensor,
    mask: Tensor | None,
    cotangents: Cotangents,
    power: int,
    total: Vector,
) -> int:
    weights = {name: p.detach() for name, p in theta}

    def along(weights: dict[str, Tensor], x1: Tensor, v1: Tensor) -> Tensor:
        f1: Tensor = functional_call(net, weights, (x1[None],))[0]
        return (f1 * v1).sum()

    pairs = cotangents(_masked(_logits(net, x).detach(), mask), y)
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


def _one_by_one(net: nn.Module, theta: Vector, x: Tensor, pairs: Pairs, power: int, total: Vector) -> int:
    for i in range(len(x)):
        with torch.enable_grad():
            f = _logits(net, x[i : i + 1])
        for k, (v, w) in enumerate(_of(pairs, i)):
            grads = torch.autograd.grad(
                f, theta.tensors, v.to(f.dtype), retain_graph=k + 1 < len(pairs), materialize_grads=True
            )
            for sum_, g in zip(total.tensors, grads):
                g = _as(total, _dense(g))
                g = g.abs() if power == 1 else g.square()
                sum_ += g if w is None else g * _as(total, w)[0]
    return len(pairs)


def _logits(net: nn.Module, x: Tensor) -> Tensor:
    f = net(x)
    if not isinstance(f, Tensor) or f.dim() != 2:
        got = f"shape {list(f.shape)}" if isinstance(f, Tensor) else type(f).__name__
        raise MethodError(
            f"importance needs a network that gives logits [B, C]; got {got}: wrap it so that it does (L2 and SI need none)"
        )
    return f


def hessian(edge: Edge, limit: int | None = None, most: int = 20_000) -> Vector:
    """The diagonal of the Hessian of the mean negative log-likelihood at the true labels, the lecture's second
    derivative; negative curvature counts as none.

    It takes one Hessian-vector product a weight, so it is for small networks. Where the logits are piecewise linear in each
    single weight (ReLU networks without tied weights) it equals the exact Fisher at every point that has a second derivative.

    Raises:
        MethodError: more than `most` weights.
    """
    net, theta = edge.net, edge.theta
    if len(theta) > most:
        raise MethodError(
            f"the Hessian's diagonal takes a product for each of {len(theta):,} weights, at most {most:,} are allowed: use "
            "importance 'exact', which equals it for ReLU networks"
        )
    weights = {name: p.detach() for name, p in theta}
    _each_example_alone(net)
    examples = _limited(edge, limit)
    total = torch.zeros(len(theta), dtype=theta.sums().tensors[0].dtype, device=theta.tensors[0].device)
    with evaluating(net):
        for chunk in examples.part(edge.ranks).all(ROWS):
            batch = Batch(*_placed(chunk, edge))
            _one_class(_logits(net, batch.x), batch.y, edge)

            def loss(weights: dict[str, Tensor], batch: Batch = batch) -> Tensor:
                return cross_entropy(functional_call(net, weights, (batch.x,)), batch) * len(batch.y)

            def second(e: Tensor, loss: Callable[[dict[str, Tensor]], Tensor] = loss) -> Tensor:
                direction = theta.like(e).map(lambda t, p: t.to(p.dtype), theta).dict()
                along = jvp(grad(loss), (weights,), (direction,))[1]
                return (torch.cat([g.reshape(-1).to(e.dtype) for g in along.values()]) * e).sum()

            for start in range(0, len(theta), 64):
                stop = min(start + 64, len(theta))
                basis = torch.zeros(stop - start, len(theta), dtype=total.dtype, device=total.device)
                basis[torch.arange(stop - start), torch.arange(start, stop)] = 1
                total[start:stop] += vmap(second)(basis)
            edge.costs.forward += len(batch.y) * len(theta)
            edge.costs.backward += len(batch.y) * len(theta)
    edge.ranks.sum_([total])
    return theta.like(total.clamp(min=0) / len(examples))
