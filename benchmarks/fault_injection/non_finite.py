"""NaN and infinity among inputs, in the loss, in gradients."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fault_injection.processes import call
from fault_injection.trials import Bench, Tally, compare, outcome
from lifelong import MLP, Finetune, Stream, Training, fit
from lifelong.core.errors import LifelongError
from lifelong.core.examples import Lazy
from lifelong.runs.checkpoint import Store
from lifelong.runs.run import Job
from lifelong.streams import split


class _Spoilt(Dataset[Any]):
    """Examples of which one has an input that is NaN."""

    def __init__(self, x: Tensor, y: Tensor, at: int) -> None:
        self.x, self.y, self.at = x, y, at

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.x[i] * (float("nan") if i == self.at else 1.0), int(self.y[i])


class _Gradient(torch.autograd.Function):
    """The identity, whose gradient is NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * float("nan")


class _Net(nn.Module):
    """An MLP whose loss, or gradient, breaks at a step."""

    def __init__(self, inner: nn.Module, what: str, at: int) -> None:
        super().__init__()
        self.inner, self.what, self.at, self.step = inner, what, at, 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        self.step += self.training
        if self.training and self.step == self.at:
            return out * float("inf") if self.what == "loss" else _Gradient.apply(out)
        return out


TRAINING, MLP_32 = Training(lr=0.05, momentum=0.9, epochs=3, batch_size=32), MLP((32,))


def clean_stream() -> Stream:
    """Three tasks of digits as floats."""
    base = split(tasks=3, source="digits", scenario="task", seed=0)
    base = replace(base, tasks=tuple(replace(t, train=t.train.prepared, test=t.test.prepared) for t in base))
    as_float = [
        replace(t, train=replace(t.train, x=t.train.x.float() / 255), test=replace(t.test, x=t.test.x.float() / 255))
        for t in base
    ]
    return replace(base, tasks=tuple(as_float))


def with_task(stream: Stream, index: int, **parts: Any) -> Stream:
    return replace(stream, tasks=tuple(replace(t, **parts) if t.index == index else t for t in stream))


def broken(what: str, at: int) -> Any:
    return lambda shape, outputs: _Net(MLP_32(shape, outputs), what, at)


def cases(stream: Stream, all_steps: bool) -> dict[str, tuple[Stream, Any, str]]:
    """By what is wrong: the stream, the network, and what the error must name."""
    x, y = stream[1].train.x.clone(), stream[1].train.y
    spoilt = x.clone()
    spoilt[7, 0] = float("nan")
    test = stream[2].test.x.clone()
    test[3] = float("nan")
    in_memory = with_task(stream, 1, train=replace(stream[1].train, x=spoilt))
    as_needed = with_task(stream, 1, train=Lazy(_Spoilt(x, y, at=11), y))
    in_test = with_task(stream, 2, test=replace(stream[2].test, x=test))
    found: dict[str, tuple[Stream, Any, str]] = {
        "an input, in memory": (in_memory, MLP_32, r"rows [7]"),
        "an input, read as needed": (as_needed, MLP_32, "task 2"),
        "a test input": (in_test, MLP_32, stream[2].name),
    }
    steps = 3 * -(-len(stream[0].train) // 32)
    # within an epoch, in the second task; the first, the last of a task
    for at in (3, steps + 5, *((1, steps) if all_steps else ())):
        task = f"task {1 + (at > steps)}"
        found[f"the loss, step {at}"] = (stream, broken("loss", at), task)
        found[f"a gradient, step {at}"] = (stream, broken("gradient", at), task)
    return found


def run(stream: Stream, build: Any, folder: Path, training: Training = TRAINING) -> int:
    try:
        fit(Finetune(), build, stream, training=training, out=folder, every=0.0)
    except LifelongError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def holds_nan(folder: Path) -> bool:
    """Whether the newest checkpoint does."""
    found = Store(folder / Job("finetune", 0).folder).newest()
    tensors = found["tensors"].values() if found is not None else ()
    return any(not bool(t.isfinite().all()) for t in tensors if t.is_floating_point())


def numbers(bench: Bench) -> Tally:
    """NaN among inputs, in the loss, in a gradient: an error that names the task and the steps, and no checkpoint with NaN in it."""
    tally, stream = Tally(), clean_stream()
    for what, (data, build, named) in cases(stream, bench.cases > 5).items():
        folder, whole = bench.fresh(), bench.fresh()
        how, said = call(lambda: run(data, build, folder), bench.said())  # noqa: B023
        tally.end(f"{how}, {what}", said, how == "status 1" and named in said)
        if holds_nan(folder):
            tally.lost.append(f"{what}: a checkpoint holds NaN")
        mended = build if build is MLP_32 else broken("none", 0)
        for place in (folder, whole):  # mended, the run goes on; another one begins
            how, said = call(lambda: run(stream, mended, place), bench.said())  # noqa: B023
            if how != "status 0":
                tally.lost.append(f"{what}: {how}: {said[-500:]}")
        compare(outcome(whole), folder, tally)
    how, said = call(lambda: run(stream, MLP_32, bench.fresh(), replace(TRAINING, lr=1e30)), bench.said())
    tally.end(f"{how}, a learning rate of 1e30", said, how == "status 1" and "steps 1 to" in said and "task 1" in said)
    return tally
