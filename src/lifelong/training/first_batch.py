"""What can be seen of somebody's model: how many outputs it gives, the first batch that it learns from, and what moves besides weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

__all__ = ["First", "Modes", "moving_statistics", "plain_width", "written"]

Norm = nn.modules.batchnorm._NormBase  # of batches, and of instances with running statistics


def plain_width(net: nn.Module) -> int | None:
    """The outputs of a network that plainly ends with a linear layer; None: it has to be asked."""
    while isinstance(net, nn.Sequential) and len(net):
        net = net[-1]
    return net.out_features if isinstance(net, nn.Linear) else None


def moving_statistics(net: nn.Module) -> list[str]:
    """The names of the batch norms whose running statistics go on with what passes now."""
    return [
        name
        for name, m in net.named_modules()
        if isinstance(m, Norm) and m.training and m.running_mean is not None and m.momentum != 0
    ]


def written(net: nn.Module) -> dict[str, tuple[int, int]]:
    """Of each buffer of numbers which tensor it is, and how often it was written to; batch norms, which are reported by themselves, and this
    package's own modules, whose buffers methods write to, are left out."""
    return {
        f"{place}.{name}" if place else name: (id(t), t._version)
        for place, m in net.named_modules()
        if not isinstance(m, Norm) and not type(m).__module__.startswith("lifelong.")
        for name, t in m.named_buffers(recurse=False)
        if t.is_floating_point() and not t.is_inference()
    }


@final
@dataclass(frozen=True)
class Modes:
    """Which modules stay in evaluation mode while a network trains: those that its user put there, and batch norms whose weights are all
    frozen, whose statistics would move otherwise."""

    kept: frozenset[str] = frozenset()  # by the user, by name
    frozen: frozenset[str] = frozenset()  # the others

    def look(self, net: nn.Module) -> Modes:
        """As `net` is now. A network that is in evaluation mode as a whole says nothing of its modules: they are as they were."""
        modules = dict(net.named_modules())
        kept = self.kept & modules.keys()
        if net.training:
            kept = frozenset(name for name, m in modules.items() if not m.training)
        frozen = {name for name, m in modules.items() if isinstance(m, Norm) and _frozen(m)}
        return Modes(kept, frozenset(frozen - kept))

    @contextmanager
    def training(self, net: nn.Module) -> Iterator[None]:
        """Training mode within, of all others; afterwards only what the user put into evaluation mode is in it."""
        net.train()
        modules = dict(net.named_modules())
        for name in (self.kept | self.frozen) & modules.keys():
            modules[name].training = False
        try:
            yield
        finally:
            for name in self.frozen & modules.keys():
                modules[name].training = True


def _frozen(module: nn.Module) -> bool:
    weights = list(module.parameters(recurse=False))
    return bool(weights) and not any(p.requires_grad for p in weights)


def _passed(*args: Any) -> None:
    """What a copied or pickled model has in the place of `First`."""


def _no_look() -> Callable[..., None]:
    return _passed


@final
class First:
    """Looks at the first batch that a model learns from, at its call: two of its inputs, and the gradient of its outputs.

    Args:
        model: inputs ``[B, ...]`` to outputs ``[B, C]``; other calls are passed over.
        seen: called with the number of outputs.
    """

    def __init__(self, model: nn.Module, seen: Callable[[int], None]) -> None:
        self.x: Tensor | None = None  # [2, ...]
        self.y: Tensor | None = None  # [2] what it answered
        self._seen = seen
        self.idle = False  # while the library calls the model itself
        self._sums: Tensor | None = None
        self._normalised = torch.zeros((), dtype=torch.bool)
        # of what is compiled a hook would make another program
        compiled = isinstance(model, torch.jit.ScriptModule) or any(
            m._compiled_call_impl is not None for m in model.modules()
        )
        self._hook = None if compiled else model.register_forward_hook(self, with_kwargs=True)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if torch.compiler.is_compiling() or self.idle or self._hook is None or not torch.is_grad_enabled():
            return
        self.remove()
        given = [*args, *kwargs.values()]
        if len(given) == 1 and isinstance(given[0], Tensor):
            self.x = given[0].detach()[:2].clone()
            self.y = torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)
        if not isinstance(output, Tensor) or output.dim() != 2 or not output.requires_grad:
            return
        f = output.detach()[:2].float()
        self.y = f.argmax(1)
        self._normalised = (
            f.logsumexp(1).abs().max() < 1e-3
        )  # log-probabilities, of which any loss but one of a softmax is rare
        output.register_hook(self._came)
        self._seen(output.shape[1])

    def _came(self, gradient: Tensor) -> None:
        g = gradient.detach().float()
        self._sums = torch.stack([g.sum(1).abs().sum(), g.abs().sum()])

    @property
    def shifts(self) -> bool:
        """Whether the loss changes when one number is added to all outputs of an example, as no loss of a softmax does (but of log-probabilities,
        which are passed over). The converse does not hold: two softmaxes side by side, a margin loss, do not change either."""
        if self._sums is None or bool(self._normalised):
            return False
        shift, whole = self._sums.tolist()
        return bool(shift > 0.1 * whole)

    def remove(self) -> None:
        """Looks no more."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    # a copy of the model is another model
    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return _passed

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _no_look, ()
