"""A learner's answers as an ordinary module: the network, what the method's `predict` reads in buffers, and the outputs that compete."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core import state_io as tree
from ..core.errors import MethodError, RunError
from ..core.method import Method
from ..core.stream import Stream
from ..runs.load_run import LoadedRun
from ..runs.spec import RunSpec
from ..training.learner import Learner
from .about import About, Kind, Learnt, Part

__all__ = ["Predictor"]


@final
class Predictor(nn.Module):
    """Inputs ``[B, ...]`` to scores ``[B, C]``, the largest of which is the answer; outputs that do not compete have −∞.

    Args:
        about: what it takes and answers.
        net: inputs to logits ``[B, C]``.
        method: whose `predict` answers; None: the network does.
        state: that method's; lists of it that are read from files as they are asked for stay what they are.
    """

    def __init__(self, about: About, net: nn.Module, method: Method | None = None, state: Any = None) -> None:
        super().__init__()
        self.about, self.net, self.method = about, net, method
        self.buffered: list[str] = []

        def keep(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            name = f"state_{len(self.buffered)}"
            self.buffered.append(name)
            self.register_buffer(name, leaf.detach().clone())
            return _Place(name)

        self.skeleton = tree.mapped(state, keep)
        C = len(about.class_names)
        known: dict[str, list[Sequence[int]]] = {
            "task": [t.classes for t in about.tasks],
            "class": [about.seen],
            "domain": [range(C)],
        }
        mask = torch.zeros(len(known[about.scenario]), C, dtype=torch.bool)
        for row, classes in zip(mask, known[about.scenario]):
            row[list(classes)] = True
        self.mask: Tensor  # [T, C] of each task, or [1, C]
        self.register_buffer("mask", mask, persistent=False)
        self.eval().requires_grad_(False)

    @staticmethod
    def of(found: LoadedRun) -> Predictor:
        """Of a run, as its newest checkpoint has it.

        Raises:
            RunError: nothing is learnt, or a task only in part.
        """
        spec, learner, stream = found.spec, found.learner, found.stream
        if learner.at is not None or not learner.learnt:
            raise RunError(
                f"{found.job.method} with seed {found.job.seed} stands in the middle of task {learner.learnt + 1} of {len(stream)}: let "
                "the run go on (lifelong resume) to the end of a task"
            )
        parts = [_part(spec, "method", m, spec.method_options.get(m, {})) for m in found.job.method.split("+")]
        kind = _kind(spec, stream)
        about = About(
            form="safetensors",
            scenario=stream.scenario,
            class_names=stream.class_names[: learner.spec.outputs if learner.spec else 0],
            tasks=tuple(Learnt(t.name, tuple(t.classes)) for t in stream.tasks[: learner.learnt]),
            seen=learner.seen,
            needs_task=stream.scenario == "task" or learner.method.traits.oracle,
            kind=kind,
            shape=stream.shape,
            whole=not next(stream[0].test.all(1)).x.is_floating_point(),
            resize=kind == "image" and spec.stream_options.get("size") is not None,
            vocabulary=_vocabulary(spec) if kind == "bag" else (),
            columns=tuple(map(str, stream.notes.get("columns", ()))),
            net=_part(spec, "net", spec.net, spec.net_options),
            outputs=stream.outputs,
            growth=tuple(learner.growth),
            method=tuple(parts),
            answers=next((m.name for m in learner.method.parts() if "predict" in m.acts), ""),
            precision=spec.precision,
            stream=stream.name,
            source=without_folders(stream.source),
            versions={name: _version(name) for name in ("lifelong", "torch")},
        )
        return Predictor(about, copy.deepcopy(learner.net), *answering(learner))

    @property
    def state(self) -> Any:
        """The method's state, made of the buffers as they are."""
        return tree.mapped(self.skeleton, lambda v: self.get_buffer(v.name) if isinstance(v, _Place) else v)

    def forward(self, x: Tensor, task: Tensor | None = None) -> Tensor:
        """Scores where each input may belong to another task ``[B]``: what a program has. Where a method answers, every task's way is
        gone and one is picked."""
        if not self.about.needs_task:
            return self._competing(self._answer(x, None), self.mask[0])
        assert task is not None
        if self.method is None:
            return self._competing(self.net(x), self.mask[task])
        ways = torch.stack([self._answer(x, k) for k in range(len(self.about.tasks))], 1)  # [B, T, C]
        own = ways.gather(1, task[:, None, None].expand(-1, 1, ways.shape[2])).squeeze(1)
        return self._competing(own, self.mask[task if len(self.mask) > 1 else torch.zeros_like(task)])

    @torch.no_grad()
    def scores(self, x: Tensor, task: int | None = None) -> Tensor:
        """Scores of inputs of one task, or of unknown ones.

        Raises:
            MethodError: a task is needed.
        """
        if self.about.needs_task and task is None:
            raise MethodError(
                f"this predictor needs the task of its inputs (--task, or a column 'task'); it has {len(self.about.tasks)}: "
                f"{self.about.tasks[0].name}, ..."
            )
        x = self.as_input(x)
        return self._competing(
            self._answer(x, task if self.about.needs_task else None),
            self.mask[task if task is not None and len(self.mask) > 1 else 0],
        )

    def as_input(self, x: Tensor) -> Tensor:
        """Bytes divided by 255, real numbers in the network's precision."""
        x = x.float().div(255) if x.dtype == torch.uint8 and not self.about.whole else x
        return x.to(next(self.net.parameters()).dtype) if x.is_floating_point() else x

    def _answer(self, x: Tensor, task: int | None) -> Tensor:
        if self.method is None:
            return self.net(x)  # type: ignore[no-any-return]
        return self.method.predict(self.state, self.net, x, task)

    @staticmethod
    def _competing(scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(~mask, float("-inf"))


@final
class _Place:
    """Where a buffer belongs in the state."""

    def __init__(self, name: str) -> None:
        self.name = name


def _part(spec: RunSpec, kind: str, name: str, options: Mapping[str, Any]) -> Part:
    code = spec.code.get(f"{kind}.{name}", "")
    return Part(name, dict(options), code, spec.sha256.get(code, ""))


def answering(learner: Learner) -> tuple[Method | None, Any]:
    """The method that answers in the network's place, with what it reads of its state."""
    parts = learner.method.parts()
    states = learner.state if len(parts) > 1 else (learner.state,)
    for method, state in zip(parts, states):
        if "predict" in method.acts:
            return method, method.answering(state)
    return None, None


def _kind(config: RunSpec, stream: Stream) -> Kind:
    """What an input is made of; a predictor of images takes files of them."""
    name, shape = config.stream, stream.shape
    if name == "babi":
        return "story"
    if name in ("clinc150", "banking77") and config.stream_options.get("features") is None:
        return "bag"
    pictures = name in ("two_corpora", "permuted", "rotated", "split", "mixed", "folder")
    return "image" if pictures and (len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)) else "numbers"


def _vocabulary(config: RunSpec) -> tuple[str, ...]:
    from ..streams.intents import vocabulary

    return vocabulary(config.stream, **{k: v for k, v in config.stream_options.items() if k == "min_count"})


def without_folders(text: str) -> str:
    """A text without where things lay on the machine that learnt: of an absolute path its last part."""
    return re.sub(r"(?<![\w.:/~])~?/(?:[^\s/()]+/)*(?=[^\s/])", "", text)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
