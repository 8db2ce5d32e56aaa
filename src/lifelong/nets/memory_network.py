"""The end-to-end memory network (Sukhbaatar et al. 2015, arXiv 1503.08895), which answers questions about stories.

With x_ij the j-th word of sentence i (one-hot, [V]), q_j those of the question, and K hops:

    m_i = Σ_j l_j ∘ A^k x_ij + T_A^k(i)      c_i = Σ_j l_j ∘ C^k x_ij + T_C^k(i)      u^1 = Σ_j l_j ∘ B q_j
    p_i = exp(uᵀ m_i) / (Σ_j exp(uᵀ m_j) + M − n)      o = Σ_i p_i c_i      u^{k+1} = u^k + o      logits = W u^{K+1}

with n sentences in M slots.

*Position encoding*: l_kj = 1 + 4 (k − (d+1)/2)(j − (J+1)/2)/(dJ), J being the number of words of the sentence itself; without it
l = 1. *Temporal encoding*: T(i) belongs to how many sentences came after i. *Adjacent* tying: A^{k+1} = C^k, B = A^1, Wᵀ = C^K
(T likewise); *layer-wise*: A and C are the same in every hop, B and W their own, and u^{k+1} = H u^k + o. *Linear start*: training
begins without the softmax (p = uᵀm). *Random noise*: while training up to a tenth as many empty sentences are slipped in
between the others, so that times vary.

The paper writes p = softmax(uᵀ m). M − n, as in the authors' code, are the empty slots, with a score of 0 and nothing to give: a hop may look at
none of the sentences. (Without them the errors on bAbI tasks 6, 9 and 10 more than double.)

A row of nil words is no sentence, and a nil word has no embedding, so that the answer does not depend on what a story is padded with. A word beyond the vocabulary is no word: the network may get it with later tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import MethodError

__all__ = ["Attentive", "MemoryNetwork"]

Tying = Literal["adjacent", "layerwise"]


@final
@dataclass(frozen=True)
class MemoryNetwork:
    """Describes a memory network; called with the shape ``(memory + 1, J)`` of an input and a number of outputs it builds one.

    Inputs are word numbers, 0 for none: a story's sentences with the latest in the row before the last, the question in the last.
    Output `c` is the word numbered ``c + 1``: the vocabulary has as many words as there are outputs.

    Args:
        units: d, the size of an embedding.
        hops: K, how often it looks at the story: 1 to 3 in the paper.
        tying: adjacent or layerwise.
        position: whether the order of a sentence's words counts.
        temporal: whether the order of sentences counts.
        noise: empty sentences slipped in while training, at most this fraction of a story's.
        linear: leave the softmax out (the first phase of a linear start).
    """

    units: int = 50
    hops: int = 3
    tying: Tying = "adjacent"
    position: bool = True
    temporal: bool = True
    noise: float = 0.1
    linear: bool = False

    def __post_init__(self) -> None:
        for name in ("units", "hops"):
            if getattr(self, name) < 1:
                raise MethodError(f"memory_network: {name} {getattr(self, name)}: expected at least 1")
        if self.tying not in ("adjacent", "layerwise"):
            raise MethodError(f"memory_network: tying {self.tying!r}: expected 'adjacent' or 'layerwise'")
        if not 0 <= self.noise <= 1:
            raise MethodError(
                f"memory_network: noise {self.noise}: expected 0 (none) to 1 (as many as there are sentences)"
            )

    def __call__(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(shape) != 2 or shape[0] < 2:
            raise MethodError(
                f"memory_network learns from stories [sentences and a question, words]; got inputs {list(shape)}: use the stream "
                "'babi', or encode your own as it does"
            )
        return Attentive(self, shape[0] - 1, outputs)


@final
class Attentive(nn.Module):
    """The network that a `MemoryNetwork` describes, of `memory` sentences and V words.

    Its embeddings are A, C^1, ..., C^K (adjacent) or A, C, B (layer-wise), each [V, d]; C^K is the weight of the last layer.
    """

    slope: Tensor  # [d]

    def __init__(self, about: MemoryNetwork, memory: int, V: int) -> None:
        super().__init__()
        d, K = about.units, about.hops
        self.about, self.memory, self.linear = about, memory, about.linear
        adjacent = about.tying == "adjacent"
        self.times = nn.ParameterList(_normal(memory, d) for _ in range(K + 1 if adjacent else 2) if about.temporal)
        self.H = None if adjacent else _normal(d, d)
        self.words = nn.ParameterList(_normal(V, d) for _ in range(K if adjacent else 3))
        self.out = nn.Linear(d, V, bias=False)  # a layer of its own, which methods find as the network's head
        nn.init.normal_(self.out.weight, std=0.1)
        self.keys = tuple(range(K)) if adjacent else (0,) * K  # the embeddings of m and of c, hop by hop
        self.values = tuple(range(1, K + 1)) if adjacent else (1,) * K
        k = torch.arange(1, d + 1)
        self.register_buffer("slope", 4 * (k - (d + 1) / 2) / d * about.position, persistent=False)

    @property
    def vocabulary(self) -> dict[str, float]:
        """The weights that have a row a word, and how far a new word's spreads."""
        return {**{f"words.{k}": 0.1 for k in range(len(self.words))}, "out.weight": 0.1}

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x)[0]

    def attend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits ``[B, V]`` of inputs ``[B, M + 1, J]``, and how much each hop looked at each sentence, ``[B, M]``, the rest of 1 at
        none; a memory smaller than the network's is one whose earlier rows are empty.

        Raises:
            MethodError: more sentences than the network has times for.
        """
        M = x.shape[1] - 1
        if self.memory < M:
            raise MethodError(
                f"a story of {M} rows for a memory of {self.memory}: keep its {self.memory} latest sentences"
            )
        x = x.long()  # ONNX has no choice among shorter integers
        x = x.masked_fill(x > self.out.out_features, 0)
        here = (x[:, :M] > 0).any(2)
        said = self._embedded(x).split(self.about.units, 2)  # of each embedding [B, M + 1, d]
        rows = [s[:, :M] for s in said]
        if self.about.temporal:
            rows = [r + t for r, t in zip(rows, self._timed(here))]
        u = said[0 if self.H is None else 2][:, M]
        seen = []
        for key, value in zip(self.keys, self.values):
            p = (rows[key] @ u[:, :, None]).squeeze(2) * here
            if not self.linear:
                p = F.pad(p, (self.memory - M, 0)).softmax(1)[:, self.memory - M :] * here
            o = (p[:, None] @ rows[value]).squeeze(1)
            u = (u if self.H is None else u @ self.H.T) + o
            seen.append(p)
        return self.out(u), seen

    def _embedded(self, x: Tensor) -> Tensor:
        """Σ_j l_j ∘ E x_ij for every row and embedding, ``[B, M + 1, E·d]``."""
        B, R, J = x.shape
        flat = x.reshape(B * R, J).long()
        embeddings = [*self.words, *([self.out.weight] if self.H is None else [])]
        table = torch.cat(embeddings, 1)
        # While training and answering most rows are empty and left out. Gradients of single examples (evaluation mode with
        # gradients) come through torch.func, which cannot have shapes that depend on data.
        some = self.training or not torch.is_grad_enabled()
        filled = (flat > 0).any(1).nonzero().squeeze(1) if some else None
        own = flat if filled is None else flat[filled]
        word = (own > 0).to(table.dtype)
        n = word.sum(1, keepdim=True)
        # l_j is 1 + slope · along_j: two counts of each word, plain and by its place, and one product for all embeddings
        along = word * (torch.arange(1, J + 1, device=x.device) - (n + 1) / 2) / n.clamp(min=1)
        index = (own - 1).clamp(min=0)
        zeros = torch.zeros((own.shape[0], table.shape[0]), dtype=table.dtype, device=x.device)
        sums = zeros.scatter_add(1, index, word) @ table
        if self.about.position:
            sums = sums + zeros.scatter_add(1, index, along) @ (table * self.slope.repeat(len(embeddings)))
        if filled is not None:
            sums = sums.new_zeros((B * R, sums.shape[1])).index_copy(0, filled, sums)
        return sums.view(B, R, -1)

    def _timed(self, here: Tensor) -> list[Tensor]:
        """T(i) of each row, ``[M, d]``, or ``[B, M, d]`` where there is noise."""
        M = here.shape[1]
        if not (self.training and self.about.noise):
            return [t[:M].flip(0) for t in self.times]
        age = _with_blanks(here.sum(1), M, self.about.noise).clamp(max=self.memory - 1).flip(1)
        return [F.embedding(age, t) for t in self.times]


def _with_blanks(n: Tensor, M: int, noise: float) -> Tensor:
    """How many sentences came after the r-th last, ``[B, M]``, when up to ⌈noise·n⌉ empty ones are slipped in at random."""
    most = (noise * n).ceil()
    blanks = (torch.rand(len(n), device=n.device) * (most + 1)).floor()
    slots = M + int(noise * M + 1)
    slot = torch.arange(slots, device=n.device)
    draw = torch.rand(len(n), slots, device=n.device).masked_fill(slot >= (n + blanks)[:, None], 2.0)
    taken = draw.argsort(1).argsort(1) < n[:, None]  # n of the n + blanks
    return torch.where(taken, slot, slots).sort(1).values[:, :M]


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.1 * torch.randn(*shape))
