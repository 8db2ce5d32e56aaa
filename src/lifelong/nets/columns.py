"""The network of Progressive Neural Networks (Rusu et al. 2016, arXiv 1606.04671): a column a task, each reading those before it.

    h_i^k = σ( W_i^k h_{i-1}^k + U_i^k σ( V_i^k α_i^k h_{i-1}^{<k} ) )                                    (equation 2)

h^{<k} are the features of all earlier columns, one behind the other; α^k has a learnt number for each of them; V projects them to as many
dimensions as the layer has units, so that what a column adds grows slowly with their number. For a convolution V is 1×1 and U like
W. The first layer reads the input alone. Only the newest column learns: the earlier ones are out of reach of any optimiser, and in
evaluation mode, so that their batch statistics rest as well.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from ..core.errors import MethodError
from ..core.growth import Growth, IndexMap
from .layers import inputs, layers_of, outputs, weighted

__all__ = ["Columns", "Lateral"]


@final
class Lateral(nn.Module):
    """U ReLU(V α h): what a layer gets from the layer's inputs in the columns before.

    Args:
        layer: the layer W beside it.
        columns: how many columns there are before.
        alpha: α starts uniform in 0 to this.
    """

    def __init__(self, layer: nn.Module, columns: int, alpha: float) -> None:
        super().__init__()
        n, m = outputs(layer), inputs(layer)
        self.alpha = nn.Parameter(alpha * torch.rand(columns))
        self.V: nn.Module
        self.U: nn.Module
        if isinstance(layer, nn.Conv2d):
            geometry = {k: getattr(layer, k) for k in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
            self.V, self.U = nn.Conv2d(columns * m, n, 1), nn.Conv2d(n, n, bias=False, **geometry)
        else:
            self.V, self.U = nn.Linear(columns * m, n), nn.Linear(n, n, bias=False)
        self.at = 1 if isinstance(layer, nn.Conv2d) else -1  # where the features are

    def forward(self, before: Sequence[Tensor]) -> Tensor:
        h = torch.cat([a * h for a, h in zip(self.alpha, before)], self.at)
        return self.U(torch.relu(self.V(h)))  # type: ignore[no-any-return]


@final
class Columns(nn.Module):
    """Made of a plain network, which becomes the first column; `grow` adds one like it.

    Args:
        net: an `nn.Sequential` of Linear, Conv2d, batch norm and layers without weights.
        alpha: α of a new column starts uniform in 0 to this.

    Raises:
        MethodError: `net` is something else.
    """

    def __init__(self, net: nn.Module, alpha: float = 1.0) -> None:
        super().__init__()
        layers = layers_of(net, "progressive")
        if any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in layers):
            raise MethodError("progressive: a convolution in groups has no adapters: use groups=1")
        self.alpha = alpha
        self.columns = nn.ModuleList([nn.Sequential(*layers)])
        self.laterals = nn.ModuleList([nn.ModuleDict()])  # of each column, by the layer's place
        places = [i for i, m in enumerate(layers) if weighted(m)]
        self.beside, self.last = places[1:], places[-1]

    def column(self, x: Tensor, k: int) -> Tensor:
        """Logits ``[B, C]`` of column `k`."""
        h = [x] * (k + 1)
        for i in range(len(self.columns[0])):  # type: ignore[arg-type]
            after = list(h)
            for j in range(k if i >= self.last else 0, k + 1):  # nobody reads the earlier columns' logits
                after[j] = self.columns[j][i](h[j])  # type: ignore[index]
                if j and i in self.beside:
                    after[j] = after[j] + self.laterals[j][str(i)](h[:j])  # type: ignore[index]
            h = after
        return h[k]

    def forward(self, x: Tensor) -> Tensor:
        return self.column(x, len(self.columns) - 1)

    @property
    def head(self) -> nn.Module:
        """The newest column's last layer."""
        return self.columns[-1][self.last]  # type: ignore[index, no-any-return]

    def train(self, mode: bool = True) -> Columns:
        super().train(mode)
        for old in (*self.columns[:-1], *self.laterals[:-1]):
            old.eval()
        return self

    def grow(self, operation: Growth) -> IndexMap:
        """Kind "column": the columns there are rest from now on, and a new one begins.

        Raises:
            MethodError: another kind.
        """
        if operation.kind != "column":
            raise MethodError(f"a network of columns grows by kind 'column'; got {operation}")
        mode, old = self.training, self.columns[0]
        p = next(self.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(operation.seed)
            new = copy.deepcopy(old)
            for module in new.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            lateral = nn.ModuleDict(
                {str(i): Lateral(new[i], len(self.columns), self.alpha) for i in self.beside}  # type: ignore[index]
            )
        self.requires_grad_(False)
        self.columns.append(new.requires_grad_(True))
        self.laterals.append(lateral)
        self.to(p).train(mode)
        return IndexMap({name: (None, ()) for name, weight in self.named_parameters() if weight.requires_grad})
