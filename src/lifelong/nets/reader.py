"""A recurrent network that reads a story word by word, and then the question: the baseline beside the memory network.

An LSTM (Hochreiter & Schmidhuber 1997) or a GRU (Cho et al. 2014, arXiv 1406.1078). Its answer is read from the state after the
last word of the question. Nil words are not read, so that the answer does not depend on what a story is padded with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from ..core.errors import MethodError

__all__ = ["Reader"]


@final
@dataclass(frozen=True)
class Reader:
    """Describes a reader; called with the shape ``(memory + 1, J)`` of an input and a number of outputs it builds one.

    Inputs and outputs are those of `MemoryNetwork`.

    Args:
        kind: lstm or gru.
        units: of its state.
        embedding: size of a word's embedding.
    """

    kind: Literal["lstm", "gru"] = "lstm"
    units: int = 64
    embedding: int = 32

    def __post_init__(self) -> None:
        if self.kind not in ("lstm", "gru"):
            raise MethodError(f"reader: kind {self.kind!r}: expected 'lstm' or 'gru'")
        if min(self.units, self.embedding) < 1:
            raise MethodError(f"reader: units {self.units}, embedding {self.embedding}: expected at least 1")

    def __call__(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(shape) != 2:
            raise MethodError(
                f"reader learns from stories [sentences and a question, words]; got inputs {list(shape)}: use the stream 'babi', "
                "or encode your own as it does"
            )
        return _Reads(self, outputs)


@final
class _Reads(nn.Module):
    def __init__(self, about: Reader, outputs: int) -> None:
        super().__init__()
        self.words = nn.Embedding(outputs + 1, about.embedding, padding_idx=0)
        layer = nn.LSTM if about.kind == "lstm" else nn.GRU
        self.rnn = layer(about.embedding, about.units, batch_first=True)
        self.out = nn.Linear(about.units, outputs)

    @property
    def vocabulary(self) -> dict[str, float]:
        """The weights that have a row a word, and how far a new word's spreads."""
        return {"words.weight": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).long()
        flat = flat.masked_fill(flat > self.out.out_features, 0)  # a word of later tasks is none yet
        words = (flat > 0).sum(1)
        # words to the front, in their order; what is behind the longest story is cut off. How long that is is data (one wait for
        # the device a step), and it saves nine tenths of the work.
        order = (flat == 0).to(torch.int8).argsort(dim=1, stable=True)
        flat = flat.gather(1, order)
        if not torch.compiler.is_exporting():  # a program has no shapes that depend on data
            flat = flat[:, : max(1, int(words.max()))]
        states, _ = self.rnn(self.words(flat))
        last = (words - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
        logits: Tensor = self.out(states.gather(1, last).squeeze(1))
        return logits
