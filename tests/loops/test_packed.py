"""Several inputs packed into one tensor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lifelong.core.errors import DataError
from lifelong.loops.packed import Packed


def test_inputs_that_the_model_would_not_be_called_with_are_named() -> None:
    words = torch.ones(2, 3, dtype=torch.int64)
    batch = {"input_ids": words, "attention_mask": words, "token_type_ids": words, "labels": words[:, 0]}
    with pytest.raises(DataError, match="the batch has token_type_ids beside"):
        Packed(nn.Identity()).pack(batch)
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    assert Packed(nn.Identity(), inputs).pack(batch).shape == (2, 3, 3)
