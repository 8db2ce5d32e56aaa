"""Net2Net (Chen, Goodfellow & Shlens 2016, arXiv 1511.05641): a larger network that computes the same function.

Wider, from n units to q:  g(j) = j for j ≤ n, drawn uniformly from 1..n for j > n;

    U[j, :] = W[g(j), :]                                  what leads to a unit is copied                          (equation 1)
    U'[:, j] = W'[:, g(j)] / |{i : g(i) = g(j)}|          what leads from it is divided by how often it stands    (equation 2)

Deeper: a layer that is the identity, with the same activation behind it, where  φ(φ(v)) = φ(v)  (ReLU); for convolutions a kernel
that is 1 in its middle. Noise on what leads to the copies lets them part; without it, and without dropout, they would move alike for ever.
Which layers a unit leads to is read from the network's graph (`torch.fx`), so that a structure in which copies would change the
function (a sum with another branch, a layer norm over the units, tied weights) is refused.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..core.errors import MethodError, nearest
from ..core.growth import IndexMap
from ..core.modes import evaluating

__all__ = ["deepen", "units", "widen", "widenable"]

Grown = nn.Linear | nn.Conv2d | nn.LSTM
Norm = nn.BatchNorm1d | nn.BatchNorm2d
Source = dict[str, tuple[str | None, tuple[Tensor, ...]]]

# what treats every unit by itself, so that equal units stay equal
_MODULES: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh),
    *(nn.Identity, nn.Dropout),
)
_FUNCTIONS: tuple[Any, ...] = (
    *(torch.relu, F.relu, F.leaky_relu, F.elu, F.gelu, F.silu, torch.tanh, F.tanh, torch.sigmoid, F.sigmoid, F.dropout),
)
_OF_CHANNELS = (nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_FUNCTIONS_OF_CHANNELS = (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d)
_METHODS = ("relu", "tanh", "sigmoid", "contiguous")


class _Reader(NamedTuple):
    """A layer that reads the units, each of which is `each` of its inputs: one behind the other, or `apart` by all units."""

    name: str
    each: int
    apart: bool


def widen(
    net: nn.Module, layer: str, size: int, seed: int = 0, noise: float = 0.0, x: Tensor | None = None
) -> IndexMap:
    """More units in a layer of `net`, in place, without changing what it computes.

    Args:
        net: any module that `torch.fx` can trace.
        layer: the name of a `Linear`, a `Conv2d` (its channels), or an `LSTM` of one layer (its hidden units).
        size: how many units it shall have.
        seed: of the choice which units are copied, and of the noise.
        noise: standard deviation of normal noise on what leads to the copies, in units of the root mean square of the layer's
            weights; 0: none.
        x: inputs ``[B, ...]`` of the network. With these it is tried on a copy that the outputs stay what they are: the graph does not say
            whether a `BatchNorm1d` normalises units or as many positions.

    Returns:
        Where each new weight came from, which `carry_moments` and a method's state follow.

    Raises:
        MethodError: the structure does not allow it; `net` is as it was.
    """
    module = _layer(net, layer)
    n = _units(module)
    if size <= n:
        raise MethodError(f"{layer!r} has {n} units and cannot be widened to {size}: ask for more than it has")
    if noise < 0:
        raise MethodError(f"noise {noise}: expected 0 or more")
    graph = _traced(net)
    norms, readers = _followed(net, graph, layer)
    if x is not None:
        _tried(net, layer, size, seed, x)
    draws = torch.Generator().manual_seed(seed)
    g = torch.cat([torch.arange(n), torch.randint(n, (size - n,), generator=draws)])
    times = torch.bincount(g, minlength=n)[g]
    source: Source = {}
    scale: dict[str, Tensor] = {}
    for name in (layer, *norms):
        _leading_to(net, name, g, source)
    for reader in readers:
        _leading_from(net, reader, n, g, times, source, scale)
    if isinstance(module, nn.LSTM):  # reads its own units
        source[f"{layer}.weight_hh_l0"] = (f"{layer}.weight_hh_l0", (_gates(g, n), g))
        scale[f"{layer}.weight_hh_l0"] = (1 / times)[None]
    mapping = IndexMap(source, scale=scale)
    _replace(net, mapping)
    for name in (layer, *norms):
        _resized(net.get_submodule(name), size)
    for reader in readers:
        _reads(net.get_submodule(reader.name), size * reader.each)
    if noise:
        with torch.no_grad():
            _disturb(module, n, size, noise, draws)
    return mapping


def deepen(
    net: nn.Module, layer: str, seed: int = 0, noise: float = 0.0, kernel: int = 3, x: Tensor | None = None
) -> IndexMap:
    """A further layer behind `layer` and its activation, in place, without changing what `net` computes.

    The activation is replaced by ``Sequential(activation, new layer, activation)``, so that all else keeps its name.

    Args:
        net: any module that `torch.fx` can trace.
        layer: the name of a `Linear` or a `Conv2d` that a `ReLU` follows, at once or behind a batch norm.
        seed: of the noise.
        noise: standard deviation of normal noise on the new weights; 0: none.
        kernel: height and width of a new convolution, odd.
        x: inputs ``[B, ...]`` of the network. With these the new layer gets a batch norm where the layer before has one: it begins
            with their statistics, and undoes what it does to them.

    Returns:
        The index map, in which the new weights are new.

    Raises:
        MethodError: the structure does not allow it; `net` is as it was.
    """
    module = _layer(net, layer)
    graph = _traced(net)
    activation, normed = _activation(net, graph, layer)
    if noise < 0:
        raise MethodError(f"noise {noise}: expected 0 or more")
    if isinstance(module, nn.LSTM):
        raise MethodError(
            f"{layer!r} is an LSTM, of which none is the identity: only Linear and Conv2d can be deepened"
        )
    new: nn.Module
    if isinstance(module, nn.Linear):
        new = nn.utils.skip_init(nn.Linear, module.out_features, module.out_features)
    else:
        if kernel < 1 or kernel % 2 == 0:
            raise MethodError(f"kernel {kernel}: expected an odd number, whose middle is one point")
        new = nn.utils.skip_init(nn.Conv2d, module.out_channels, module.out_channels, kernel, padding=kernel // 2)
    weight, bias = new.weight, new.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    with torch.no_grad():
        nn.init.dirac_(weight) if isinstance(new, nn.Conv2d) else nn.init.eye_(weight)
        bias.zero_()
        if noise:
            weight += noise * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    new = new.to(module.weight)
    phi = net.get_submodule(activation)
    layers = [phi, new]
    if normed is not None and x is not None:
        layers.append(_undone(net, activation, new, normed, x))
    parent, _, last = activation.rpartition(".")
    net.get_submodule(parent).register_module(last, nn.Sequential(*layers, type(phi)()))
    return IndexMap({f"{activation}.{i}.{own}": (None, ()) for i, m in enumerate(layers) for own in m.state_dict()})


@torch.no_grad()
def _tried(net: nn.Module, layer: str, size: int, seed: int, x: Tensor) -> None:
    """Raises `MethodError` where a copy of `net` that is widened so answers `x` otherwise."""
    copied = copy.deepcopy(net)
    with evaluating(net), evaluating(copied):
        before = net(x)
        try:
            widen(copied, layer, size, seed)
            same = torch.allclose(copied(x), before, rtol=1e-3, atol=1e-4 * float(before.abs().max()) + 1e-6)
        except RuntimeError:  # what normalises positions has got others
            same = False
    if not same:
        raise MethodError(
            f"{layer!r} cannot be widened: a copy of the network that was answers otherwise, as something behind the layer does not treat each unit "
            "by itself (a batch norm over positions)"
        )


def widenable(net: nn.Module, x: Tensor | None = None) -> tuple[str, ...]:
    """The layers that `widen` would take; with inputs `x` it is tried (see there)."""
    found = []
    for name, module in net.named_modules():
        if name and type(module) in (nn.Linear, nn.Conv2d, nn.LSTM):
            try:
                _layer(net, name)
                _followed(net, _traced(net), name)
                if x is not None:
                    _tried(net, name, _units(module) + 1, 0, x)
            except MethodError:
                continue
            found.append(name)
    return tuple(found)


def units(net: nn.Module, layer: str) -> int:
    """How many units (channels, hidden units) a layer has."""
    return _units(_layer(net, layer))


# --- reading the graph ----------------------------------------------------------------------------------------------------
class _Tracer(fx.Tracer):
    """Goes into whatever has layers with weights inside, so that what has none may do as it likes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        container = any(isinstance(inner, Grown | Norm) for inner in m.modules() if inner is not m)
        return not container


def _traced(net: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(net)
    except Exception as error:
        raise MethodError(
            f"{type(net).__name__} cannot be read as a graph ({str(error).splitlines()[0]}): build it of nn.Sequential, or give it "
            "a method grow(operation) of its own"
        ) from error


def _layer(net: nn.Module, layer: str) -> Grown:
    named = dict(net.named_modules())
    if layer not in named or not layer:
        can = [n for n, m in named.items() if n and isinstance(m, Grown)]
        raise MethodError(f"{type(net).__name__} has no layer {layer!r}{nearest(layer, can)}; it has {', '.join(can)}")
    module = named[layer]
    if type(module) not in (nn.Linear, nn.Conv2d, nn.LSTM):
        raise MethodError(f"{layer!r} is a {type(module).__name__}: expected a Linear, a Conv2d or an LSTM")
    if isinstance(module, nn.LSTM) and (module.num_layers > 1 or module.bidirectional or module.proj_size):
        raise MethodError(f"{layer!r}: only an LSTM of one layer and one direction, without projection, can grow")
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        raise MethodError(f"{layer!r} is a convolution in {module.groups} groups, which tie units together")
    assert isinstance(module, nn.Linear | nn.Conv2d | nn.LSTM)
    return module


def _units(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    assert isinstance(module, nn.LSTM)
    return module.hidden_size


def _calls(graph: fx.Graph, name: str) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "call_module" and node.target == name]


def _once(net: nn.Module, graph: fx.Graph, name: str) -> fx.Node:
    """The one call of a module whose weights belong to it alone."""
    calls = _calls(graph, name)
    module = net.get_submodule(name)
    names = [n for n, m in net.named_modules(remove_duplicate=False) if m is module]
    own = {id(p) for p in module.parameters()}
    elsewhere = [n for n, p in net.named_parameters(remove_duplicate=False) if id(p) in own]
    read = any(node.op == "get_attr" and str(node.target).startswith(f"{name}.") for node in graph.nodes)
    if len(calls) != 1 or len(names) > 1 or len(elsewhere) > len(own) or read:
        raise MethodError(
            f"{name!r} is used {len(calls)} times or has tied weights: only a layer that is used once can grow"
        )
    return calls[0]


def _followed(net: nn.Module, graph: fx.Graph, layer: str) -> tuple[list[str], list[_Reader]]:
    """The batch norms that the units of `layer` pass, and the layers that read them."""
    module = net.get_submodule(layer)
    start = _once(net, graph, layer)
    n = _units(module)
    norms: list[str] = []
    readers: list[_Reader] = []
    todo = list(_users(start, isinstance(module, nn.LSTM), layer))
    seen: set[fx.Node] = set()
    flat: set[fx.Node] = set()
    while todo:
        before, node = todo.pop()
        if before in flat:
            flat.add(node)
        what = net.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = str(node.target)
        if isinstance(what, Grown):
            _once(net, graph, name)
            _layer(net, name)
            width = what.in_channels if isinstance(what, nn.Conv2d) else _width(what)
            across = isinstance(module, nn.Conv2d) != isinstance(what, nn.Conv2d)  # reads another dimension
            if width % n or ((width != n or across) and before not in flat):
                raise MethodError(f"{name!r} reads {width} inputs of the {n} units of {layer!r}: flatten them before")
            readers.append(_Reader(name, width // n, apart=not isinstance(module, nn.Conv2d)))
            continue
        if node in seen:
            continue
        seen.add(node)
        if isinstance(what, Norm):
            _once(net, graph, name)
            if what.num_features != n:
                raise MethodError(f"{name!r} normalises flattened units of {layer!r}: put it before the flattening")
            norms.append(name)
        elif _flattens(what, node):
            flat.add(node)
        elif not (_keeps_units(what, node, isinstance(module, nn.LSTM)) or _pools(module, what, node, before in flat)):
            raise MethodError(
                f"the units of {layer!r} come to {_said(node, what)}, which copies of them would change: only what treats each "
                "unit by itself (activations, pooling, batch norm, dropout, flattening) may stand before the next Linear, Conv2d or "
                "LSTM"
            )
        todo += [(node, user) for user in node.users]
    if not readers:
        raise MethodError(f"nothing reads the units of {layer!r}")
    if not isinstance(module, nn.Conv2d) and norms and any(reader.each > 1 for reader in readers):
        raise MethodError(
            f"{norms[0]!r} normalises positions, as the units of {layer!r} come at {max(r.each for r in readers)} of them: put the batch norm "
            "behind the flattening, or use layer norm over other dimensions"
        )
    return norms, readers


def _users(start: fx.Node, recurrent: bool, layer: str) -> Iterator[tuple[fx.Node, fx.Node]]:
    for user in start.users:
        if not recurrent:
            yield start, user
        elif user.target is operator.getitem and user.args[1] == 0:
            yield from ((user, after) for after in user.users)
        elif user.users or user.op == "output":
            raise MethodError(
                f"the last state of {layer!r} is used beside its outputs: only an LSTM's outputs may be used"
            )


def _keeps_units(what: nn.Module | None, node: fx.Node, recurrent: bool) -> bool:
    if what is not None:
        return isinstance(what, _MODULES)
    if node.op == "call_method":
        return node.target in _METHODS
    if node.target is operator.getitem and recurrent:  # of [B, T, units], some steps
        index = node.args[1]
        return isinstance(index, int | slice) or (isinstance(index, tuple) and len(index) <= 2 and ... not in index)
    return node.op == "call_function" and node.target in _FUNCTIONS


def _pools(module: nn.Module, what: nn.Module | None, node: fx.Node, flat: bool) -> bool:
    by_channel = isinstance(what, _OF_CHANNELS) or (
        node.op == "call_function" and node.target in _FUNCTIONS_OF_CHANNELS
    )
    return isinstance(module, nn.Conv2d) and not flat and by_channel


def _flattens(what: nn.Module | None, node: fx.Node) -> bool:
    if isinstance(what, nn.Flatten):
        return (what.start_dim, what.end_dim) == (1, -1)
    function = node.op == "call_function" and node.target is torch.flatten
    method = node.op == "call_method" and node.target == "flatten"
    return (function or method) and node.args[1:] == (1,) and not node.kwargs


def _said(node: fx.Node, what: nn.Module | None) -> str:
    if node.op == "output":
        return "the network's outputs"
    return type(what).__name__ if what is not None else str(getattr(node.target, "__name__", node.target))


def _activation(net: nn.Module, graph: fx.Graph, layer: str) -> tuple[str, Norm | None]:
    """The name of the ReLU behind a layer, and the batch norm between them."""
    node, norm = _once(net, graph, layer), None
    while True:
        after = list(node.users)
        what = net.get_submodule(str(after[0].target)) if len(after) == 1 and after[0].op == "call_module" else None
        if isinstance(what, Norm) and norm is None:
            norm, node = what, after[0]
            continue
        if isinstance(what, nn.ReLU | nn.ReLU6):
            if len(_calls(graph, str(after[0].target))) == 1:
                return str(after[0].target), norm
            raise MethodError(f"the ReLU behind {layer!r} is used elsewhere too: give each layer a module of its own")
        found = _said(after[0], what) if after else "nothing"
        raise MethodError(
            f"behind {layer!r} comes {found}: expected the module ReLU, which does to its own outputs nothing more, so that an "
            "identity may follow"
        )


# --- the new weights --------------------------------------------------------------------------------------------------------
def _gates(g: Tensor, n: int) -> Tensor:
    """The rows of an LSTM's four gates."""
    return torch.cat([g + gate * n for gate in range(4)])


def _leading_to(net: nn.Module, name: str, g: Tensor, source: Source) -> None:
    module = net.get_submodule(name)
    rows = _gates(g, module.hidden_size) if isinstance(module, nn.LSTM) else g
    for own, t in module.state_dict().items():
        if t.dim():
            others = source.get(f"{name}.{own}", (None, tuple(torch.arange(s) for s in t.shape)))[1]
            source[f"{name}.{own}"] = (f"{name}.{own}", (rows, *others[1:]))


def _leading_from(
    net: nn.Module, reader: _Reader, n: int, g: Tensor, times: Tensor, source: Source, scale: dict[str, Tensor]
) -> None:
    own = "weight_ih_l0" if isinstance(net.get_submodule(reader.name), nn.LSTM) else "weight"
    name, each = f"{reader.name}.{own}", torch.arange(reader.each)
    weight = net.get_parameter(name)
    if reader.apart:  # [each, units]
        columns, s = (each[:, None] * n + g).flatten(), (1 / times).repeat(reader.each)
    else:
        columns, s = (g[:, None] * reader.each + each).flatten(), (1 / times).repeat_interleave(reader.each)
    others = tuple(torch.arange(size) for size in weight.shape)
    source[name] = (name, (others[0], columns, *others[2:]))
    scale[name] = s.view(1, -1, *[1] * (weight.dim() - 2))


@torch.no_grad()
def _replace(net: nn.Module, mapping: IndexMap) -> None:
    """Gives each parameter and buffer of the map its new values."""
    state = net.state_dict()
    for name in mapping.source:
        carried = mapping.tensors(state, {name: state[name]})[name]
        parent, _, own = name.rpartition(".")
        module = net.get_submodule(parent)
        old = getattr(module, own)
        setattr(module, own, nn.Parameter(carried, old.requires_grad) if isinstance(old, nn.Parameter) else carried)


def _resized(module: nn.Module, size: int) -> None:
    if isinstance(module, nn.Linear):
        module.out_features = size
    elif isinstance(module, nn.Conv2d):
        module.out_channels = size
    elif isinstance(module, nn.LSTM):
        module.hidden_size = size
        module.flatten_parameters()
    else:
        assert isinstance(module, Norm)
        module.num_features = size


def _width(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features
    assert isinstance(module, nn.LSTM)
    return module.input_size


def _reads(module: nn.Module, inputs: int) -> None:
    if isinstance(module, nn.Linear):
        module.in_features = inputs
    elif isinstance(module, nn.Conv2d):
        module.in_channels = inputs
    else:
        assert isinstance(module, nn.LSTM)
        module.input_size = inputs
        module.flatten_parameters()


def _disturb(module: nn.Module, n: int, size: int, noise: float, draws: torch.Generator) -> None:
    copies = torch.arange(n, size)
    lstm = isinstance(module, nn.LSTM)
    rows = torch.cat([copies + gate * size for gate in range(4)]) if lstm else copies
    for own in ("weight_ih_l0", "weight_hh_l0") if lstm else ("weight",):
        weight = getattr(module, own)
        sigma = noise * float(weight.square().mean().sqrt())
        weight[rows] += sigma * torch.randn(weight[rows].shape, generator=draws).to(weight)


def _undone(net: nn.Module, activation: str, new: nn.Module, like: Norm, x: Tensor) -> Norm:
    """A batch norm with the statistics of what comes to it for inputs `x`, and weights that undo it."""
    kept: list[Tensor] = []
    hook = net.get_submodule(activation).register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        with torch.no_grad(), evaluating(net):
            net(x)
            h = new(kept[-1])
    finally:
        hook.remove()
    norm = type(like)(like.num_features, eps=like.eps, momentum=like.momentum).to(h)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    dims = [d for d in range(h.dim()) if d != 1]
    with torch.no_grad():
        norm.running_mean.copy_(h.mean(dims))
        norm.running_var.copy_(h.var(dims, unbiased=False))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)
    return norm
