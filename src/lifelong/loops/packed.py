"""A model whose inputs have names, as a network of one tensor: what methods, memories and streams take.

Several inputs (``input_ids`` and ``attention_mask``) lie one behind the other in one integer tensor, as a story does; a single one
(``pixel_values``) is the tensor itself. So a memory stores sentences and a stream cuts them as they do images, and `fit` and `protect`
train such models without knowing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import DataError

__all__ = ["Packed"]


@final
class Packed(nn.Module):
    """Packed inputs ``[B, k, L]``, or one input ``[B, ...]``, to the model's logits ``[B, C]``.

    Args:
        model: called with its inputs by name; it gives logits, or a mapping that has them as ``logits``.
        inputs: the k names.
        length: L, to which shorter inputs are padded; default: they come padded alike.
    """

    def __init__(
        self, model: nn.Module, inputs: Sequence[str] = ("input_ids", "attention_mask"), length: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.inputs, self.length = model, tuple(inputs), length

    def pack(self, batch: Mapping[str, Any]) -> Tensor:
        """What the model is called with, as one tensor.

        Raises:
            DataError: an input is not there, or longer than `length`.
        """
        missing = [name for name in self.inputs if name not in batch]
        if missing:
            raise DataError(
                f"the batch has {', '.join(batch)}, but no {missing[0]}: name what the model is called with, inputs=(...)"
            )
        first = batch[self.inputs[0]]
        more = [
            name
            for name, t in batch.items()
            if name not in (*self.inputs, "labels") and isinstance(t, Tensor) and t.shape == first.shape
        ]
        if more:
            raise DataError(
                f"the batch has {', '.join(more)} beside {', '.join(self.inputs)}, which the model would not be called with: name all of them, "
                f"inputs={(*self.inputs, *more)!r}, or leave them out of the batch"
            )
        if len(self.inputs) == 1:
            only: Tensor = batch[self.inputs[0]]
            return only
        rows = [batch[name] for name in self.inputs]
        if self.length is None:
            return torch.stack(rows, 1)
        room = self.length - rows[0].shape[1]
        if room < 0:
            raise DataError(
                f"inputs of length {rows[0].shape[1]}, at most {self.length} were expected: truncate them, or say a larger length"
            )
        return torch.stack([F.pad(t, (0, room), value=self._nil(name)) for name, t in zip(self.inputs, rows)], 1)

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """The inputs by name."""
        return {self.inputs[0]: x} if len(self.inputs) == 1 else dict(zip(self.inputs, x.unbind(1)))

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(**self.unpack(x))
        logits: Tensor = output if isinstance(output, Tensor) else output["logits"]
        return logits

    def _nil(self, name: str) -> int:
        """What an input is padded with: some models look for the padding in the words themselves."""
        nil = getattr(getattr(self.model, "config", None), "pad_token_id", None)
        return nil if name == "input_ids" and nil is not None else 0
