"""Which task helps which: transfers between the tasks of a stream, measured (Taskonomy, Zamir et al. 2018, arXiv 1804.08328).

For each source a network learns that task. For each target a small readout of that network's frozen features learns from few
examples: D_{s→t}, its loss on each of the target's held-out examples. Pairs of sources are read out of both networks' features
side by side. Losses of different targets do not compare, so win rates between transfers to the same target are made affinities
by `lifelong.curriculum.taxonomy.ahp`. A transfer's *gain* is its win rate against a network trained from scratch on the same few examples,
its *quality* that against the target's own network, trained on all of them; that network is the source ``"self"``.

All is measured on examples held out of the training sets. The test sets are never read, so that an order chosen by affinities
may be compared with others on them.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.contexts import Costs
from ..core.errors import DataError, MethodError, RunError
from ..core.examples import Examples
from ..core.files import write_atomically
from ..core.fingerprint import digest, named, weights_digest, worded
from ..core.method import Method
from ..core.stream import Stream, Task
from ..nets.heads import features
from ..runs.executor import Engine, Work
from ..runs.jobs import no_run
from ..runs.lease import leased
from ..runs.results import Codec, Name, Results, fingerprint, gather
from ..training.build import Build, learner_for, network_of
from ..training.learner import Learner
from ..training.settings import Training
from .taxonomy import SELF, Affinities, Transfer, ahp, win_rates

__all__ = ["Probe", "Transfers", "examples_of", "measure", "name_of", "planned"]

Tell = Callable[[str], None]
Measured = tuple[dict[str, Tensor], dict[str, float]]  # tensors, and what they cost
SCRATCH = "pixels"  # no source: trained from scratch (the name that the published files have for it)


@final
@dataclass(frozen=True)
class Probe:
    """How transfers are measured.

    Args:
        few: training examples of a target that a transfer learns from.
        pairs: pairs of sources are measured among so many of a target's best single sources; 0: none. (All pairs of all tasks
            would be a number that grows with the cube of theirs.)
        how: features trains a linear readout of the frozen features; finetune goes on training the source's whole network.
        fraction: of each task's training examples, held out to measure on.
        decay: the readout's ridge, times half its squared weights, on features scaled to variance 1.
    """

    few: int = 100
    pairs: int = 0
    how: Literal["features", "finetune"] = "features"
    fraction: float = 0.2
    decay: float = 0.01

    def __post_init__(self) -> None:
        if self.few < 1 or self.pairs < 0 or not self.decay > 0:
            raise MethodError(f"{self}: expected few of at least 1, pairs of 0 or more, a decay above 0")
        if self.pairs and self.how == "finetune":
            raise MethodError("pairs are read out of two networks' features: they need how 'features'")


@final
@dataclass(frozen=True, eq=False)
class Transfers:
    """The losses D ``[n]`` of each transfer on its target's n held-out examples, and what they took to measure."""

    tasks: tuple[str, ...]
    losses: dict[Transfer, NDArray[np.float64]]
    scratch: dict[str, NDArray[np.float64]]  # by target: trained on the same few examples
    costs: Costs

    @property
    def affinities(self) -> Affinities:
        """The affinities p of each target's transfers sum to 1; gain and quality are win rates (a tie counts half)."""
        p: dict[Transfer, float] = {}
        for target in self.tasks:
            to = [t for t in self.losses if t.target == target]
            p |= dict(zip(to, ahp(win_rates([self.losses[t] for t in to])).tolist()))
        gain = {t: _share(D, self.scratch[t.target]) for t, D in self.losses.items()}
        quality = {t: _share(D, self.losses[Transfer((SELF,), t.target)]) for t, D in self.losses.items()}
        return Affinities(p, gain, quality)

    def mean_losses(self) -> dict[Transfer, float]:
        """What affinities are before normalisation."""
        return {t: float(D.mean()) for t, D in self.losses.items()}


def planned(stream: Stream, training: Training, probe: Probe) -> str:
    """What `measure` is going to do, in words, and how many examples it takes forward and back."""
    T = len(stream)
    held = [round(len(t.train) * (1 - probe.fraction)) for t in stream]
    few = [min(probe.few, n) for n in held]
    whole = sum(examples_of(n, training) for n in held) + sum(examples_of(n, training) for n in few)
    pairs = T * (min(probe.pairs, T) * (min(probe.pairs, T) - 1) // 2)
    said = f"{T} source networks, {T} networks from scratch, {T * T} transfers of first order"
    if probe.how == "finetune":
        whole += T * sum(examples_of(n, training) for n in few)
    return f"{said}{f', {pairs} pairs' if pairs else ''}; {whole:,} examples forward and back, besides the readouts"


def examples_of(n: int, training: Training) -> int:
    """How many examples training on n of them passes forward and back."""
    return n * training.epochs if training.iterations is None else training.iterations * training.batch_size


def measure(
    stream: Stream,
    net: Build | nn.Module,
    training: Training,
    probe: Probe | None = None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    jobs: int | Engine = 1,
    tell: Tell = lambda line: None,
    wait: float = 0.0,
) -> Transfers:
    """Measures the transfers between all tasks of a stream.

    Args:
        stream, net, training: as `fit` takes them; names of tasks must differ.
        probe: what is measured, and with how much.
        seed: of the initial weights, which all networks share, of the few examples and of those held out.
        folder: where each network and each target's losses are kept, so that a later call goes on from there.
        jobs: how many processes of one thread, or an engine (see `lifelong.runs.executor`).
        tell: is called with a line for each thing done.
        wait: seconds to wait for another process that measures into the same folder.

    Raises:
        DataError: two tasks of one name, or a name with ``__`` in it or that of ``self``.
        RunError: the folder holds something else.
    """
    probe = probe or Probe()
    stream = replace(stream, announced=True)  # all networks have the same outputs
    names = [t.name for t in stream]
    wrong = [n for i, n in enumerate(names) if n in names[:i] or "__" in n or n in (SELF, SCRATCH)]
    if wrong:
        raise DataError(
            f"task name {wrong[0]!r}: transfers are written source__target, so names must differ, have no '__' in them and not "
            f"be {SELF!r} or {SCRATCH!r}: rename the task"
        )
    if folder is None:
        return _measure(stream, net, training, probe, seed, _Kept(stream, tell, jobs))
    with leased(folder, wait):
        about = _about(stream, net, training, probe, seed)
        _same_as_before(folder, about)
        first = network_of(net, stream, seed)
        mark = fingerprint([about, worded(first), weights_digest(first)])
        return _measure(stream, net, training, probe, seed, _Kept(stream, tell, jobs, Results(folder, TENSORS), mark))


@final
class _Kept:
    """Measurements of each task, read where they were made before, and what all of them took.

    Args:
        stream, tell, jobs: see `measure`.
        results: where they are kept; None: nowhere.
        mark: a fingerprint of all that they depend on.
    """

    def __init__(
        self,
        stream: Stream,
        tell: Tell,
        jobs: int | Engine,
        results: Results[Measured] | None = None,
        mark: str = "",
    ) -> None:
        self.stream, self.tell, self.jobs, self.results, self.mark = stream, tell, jobs, results, mark
        self.costs = Costs()

    def each(self, what: str, function: Callable[..., Measured], work: Work, **more: Any) -> list[dict[str, Tensor]]:
        """One for each task; `more` is what they depend on besides."""
        T, began, there, new = len(self.stream), time.monotonic(), 0, 0
        mark = fingerprint([self.mark, more])
        names = [Name(f"{what}-{i:03d}", mark) for i in range(T)]

        def already(count: int) -> None:
            nonlocal there
            there = count
            self.tell(f"{what}: {count} of {T} were there already")

        def made(i: int, measured: Measured) -> None:
            nonlocal new
            new += 1
            seconds = time.monotonic() - began
            left = _left(new, T - there, seconds)
            self.tell(f"{what} {self.stream[i].name}: {there + new}/{T}, {seconds:.0f} s{left}")

        found = gather(function, names, work, self.results, self.jobs, already=already, made=made)
        for _, spent in found:
            self.costs.train_seconds += spent["train_seconds"]
            self.costs.eval_seconds += spent["eval_seconds"]
            self.costs.forward += int(spent["forward"])
            self.costs.backward += int(spent["backward"])
        return [tensors for tensors, _ in found]


def _measure(
    stream: Stream, net: Build | nn.Module, training: Training, probe: Probe, seed: int, kept: _Kept
) -> Transfers:
    held = stream.hold_out(probe.fraction, seed)
    few = held.few(probe.few, seed)
    T = len(held)
    sources = kept.each("source", _source, [(held.subset([i]), net, training, seed) for i in range(T)])
    weights = [{k.removeprefix("net."): v for k, v in s.items() if k.startswith("net.")} for s in sources]
    work = [(few.subset([i]), i, net, training, seed, probe, weights) for i in range(T)]
    results = kept.each("target", _target, work, pairs=probe.pairs)
    losses: dict[Transfer, NDArray[np.float64]] = {}
    scratch = {}
    for task, own, result in zip(stream, sources, results):
        losses[Transfer((SELF,), task.name)] = own["own"].double().numpy()
        scratch[task.name] = result.pop(SCRATCH).double().numpy()
        for key, D in result.items():
            losses[Transfer(tuple(stream[int(i)].name for i in key.split("+")), task.name)] = D.double().numpy()
    return Transfers(tuple(t.name for t in stream), losses, scratch, kept.costs)


def _left(done: int, all_: int, seconds: float) -> str:
    return "" if done == all_ else f", about {seconds / done * (all_ - done):.0f} s left"


# --- one source, one target ------------------------------------------------------------------------------------------------
def _source(alone: Stream, net: Build | nn.Module, training: Training, seed: int) -> Measured:
    """A network that learns one task: its weights, and its losses on the examples held out."""
    learner = learner_for(Method(), net, alone, training, seed)
    learner.learn(alone[0])
    own = _losses(learner, alone[0])
    state = {f"net.{k}": v.detach().contiguous().clone() for k, v in learner.net.state_dict().items()}
    return {**state, "own": own}, asdict(learner.costs)


def _target(
    alone: Stream,
    index: int,
    net: Build | nn.Module,
    training: Training,
    seed: int,
    probe: Probe,
    weights: Sequence[dict[str, Tensor]],
) -> Measured:
    """The losses of all transfers to one target, by the sources' numbers."""
    task = alone[0]
    scratch = learner_for(Method(), net, alone, training, seed)
    empty = copy.deepcopy(scratch.net)
    scratch.learn(task)
    found = {SCRATCH: _losses(scratch, task)}
    costs = scratch.costs
    if probe.how == "finetune":
        for i, state in enumerate(weights):
            empty.load_state_dict(state)
            learner = learner_for(Method(), empty, alone, training, seed)
            learner.learn(task)
            found[str(i)] = _losses(learner, task)
            costs.train_seconds += learner.costs.train_seconds
            costs.eval_seconds += learner.costs.eval_seconds
            costs.forward += learner.costs.forward
            costs.backward += learner.costs.backward
        return found, asdict(costs)
    began = time.perf_counter()
    place = torch.zeros(alone.outputs, dtype=torch.int64)
    place[list(task.classes)] = torch.arange(len(task.classes))
    y, held_y = place[task.train.labels], place[task.test.labels]
    known: list[tuple[Tensor, Tensor]] = []
    for state in weights:
        empty.load_state_dict(state)
        known.append((_features(empty, task.train), _features(empty, task.test)))
    costs.forward += len(weights) * (len(y) + len(held_y))

    def read(chosen: Sequence[int]) -> Tensor:
        phi, held = (torch.cat([known[i][part] for i in chosen], 1) for part in (0, 1))
        D, passes = _readout(phi, y, held, held_y, len(task.classes), probe.decay)
        costs.forward += passes * len(y) + len(held_y)
        costs.backward += passes * len(y)
        return D

    for i in range(len(weights)):
        found[str(i)] = read([i])
    if probe.pairs:
        p = ahp(win_rates(torch.stack([found[str(i)] for i in range(len(weights))]).double().numpy()))
        best = sorted(np.argsort(-p, kind="stable")[: probe.pairs].tolist())
        for a, b in combinations(best, 2):
            found[f"{a}+{b}"] = read([a, b])
    costs.train_seconds += time.perf_counter() - began
    return found, asdict(costs)


@torch.no_grad()
def _features(net: nn.Module, examples: Examples) -> Tensor:
    net.eval()
    return torch.cat([features(net, chunk.x) for chunk in examples.all()])


def _readout(phi: Tensor, y: Tensor, held: Tensor, held_y: Tensor, classes: int, decay: float) -> tuple[Tensor, int]:
    """Losses ``[n]`` of a linear readout on held-out features, and its passes over the examples. It is the minimum of a convex
    function, mean cross-entropy + decay/2 |W|², so that no draw decides a win; features are scaled by the few examples."""
    mean, spread = phi.mean(0), phi.std(0, correction=0)
    scale = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 0.0)  # a feature that never varies says nothing
    phi, held = ((f - mean) * scale for f in (phi, held))
    W = torch.zeros(classes, phi.shape[1], requires_grad=True)
    b = torch.zeros(classes, requires_grad=True)
    passes = 0
    optimizer = torch.optim.LBFGS([W, b], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(phi @ W.T + b, y) + 0.5 * decay * W.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return F.cross_entropy(held @ W.T + b, held_y, reduction="none"), passes


@torch.no_grad()
def _losses(learner: Learner, task: Task) -> Tensor:
    """Cross-entropy on each of the task's held-out examples, among its own classes."""
    began = time.perf_counter()
    learner.net.eval()
    closed = torch.ones(learner.spec.outputs if learner.spec else 0, dtype=torch.bool)
    closed[list(task.classes)] = False
    found = []
    for chunk in task.test.all():
        scores = learner.net(chunk.x).masked_fill(closed, float("-inf"))
        found.append(F.cross_entropy(scores, chunk.y, reduction="none"))
    learner.costs.eval_seconds += time.perf_counter() - began
    return torch.cat(found)


def _share(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float((a < b).mean() + 0.5 * (a == b).mean())


# --- what is kept ----------------------------------------------------------------------------------------------------------
def _encode(measured: Measured) -> bytes:
    from safetensors.torch import save

    tensors, spent = measured
    return save(tensors, {"costs": json.dumps(spent)})


def _decode(content: bytes) -> Measured:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content), json.loads(_metadata(content)["costs"])
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _metadata(content: bytes) -> dict[str, str]:
    """What a file of safetensors says beside its tensors: its head is JSON, whose length stands before it."""
    size = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return found


TENSORS = Codec(".safetensors", _encode, _decode)


def name_of(stream: Stream, net: Build | nn.Module, training: Training, probe: Probe, seed: int) -> str:
    """A name for what `measure` makes of these with these versions: of another stream, network or training it is another."""
    about = {**_about(stream, net, training, probe, seed), "pairs": probe.pairs}
    about |= {name: version(name) for name in ("lifelong", "torch", "numpy")}
    return fingerprint(about)


def _about(stream: Stream, net: Build | nn.Module, training: Training, probe: Probe, seed: int) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "tasks": [t.name for t in stream],
        "net": named(net),
        "set of examples, or network": digest(stream, net),
        "training": asdict(training),
        # pairs build on what was measured without them, and are in the names of the targets
        "probe": asdict(replace(probe, pairs=0)),
        "seed": seed,
    }


def _same_as_before(folder: Path, about: Mapping[str, Any]) -> None:
    """A folder belongs to one measurement: what it was made of stands in ``measured.json``."""
    path = folder / "measured.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [k for k in about if before.get(k) != about[k]]
        if other:
            raise RunError(
                f"{folder} holds transfers measured with another {other[0]}: choose another folder, or remove this one"
            )
        return
    if any(folder.glob("*.safetensors")):
        raise RunError(f"{folder} holds transfers, but no measured.json that says of what: choose another folder")
    no_run(folder)
    write_atomically(path, json.dumps(about, indent=1))
