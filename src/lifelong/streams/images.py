"""Streams made of labelled images: the same images noisy and clean, permuted, rotated, or split.

All tasks of a stream share one copy of the images (`two_corpora`: two); a task is a transform or a
choice of rows. What varies is drawn from the seed by name: task 3's permutation is the same in a
stream of 5 tasks and of 50.

In the scenario "domain" all tasks have the same classes. In "task" and "class" the classes of
different tasks are different ones: of ten digits, task t's digit d is output ``10 t + d`` (t from
0), named ``p3:7`` for the third permutation's 7. `split` divides the classes themselves instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import DataError
from ..core.examples import Tensors, Transform
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task, remembered
from .sources import Source, load
from .transforms import ROWS, Permute, Rotate

__all__ = ["NOISE", "mixed", "permuted", "rotated", "split", "two_corpora"]

Noise = Literal["gaussian", "uniform"]

NOISE: dict[str, tuple[Noise, float]] = {"mnist": ("gaussian", 0.5)}
"""The default noise of `two_corpora` by source.

Fixed on held-out training images so that a ReLU network of three layers of 50 units (SGD, learning rate 0.1, batch 32)
that has learnt the noisy corpus alone answers about 90% of it: MNIST after 10 epochs, the 3,000 images of
``mnist-mini`` after 20 (`FEW_IMAGES`). With so few images the Gaussian noise that leaves 90% (0.15) leaves nothing to
forget; there it is uniform, which lifts the background as well, as a poor scan does.
"""
FEW_IMAGES: tuple[Noise, float] = ("uniform", 0.5)
"""That of all other sources."""


@remembered
def two_corpora(
    source: str | Source = "mnist-mini",
    noise: float | None = None,
    kind: Noise | None = None,
    seed: int = 0,
    scenario: Scenario = "domain",
    examples: int | None = None,
    test_examples: int | None = None,
    pad: int = 0,
) -> Stream:
    """The same images twice: corpus 1 is noisy, corpus 2 clean.

    Each image's noise is drawn once, so that it is the same in every epoch, and added before the
    values are clipped to what an image can hold.

    Args:
        source: labelled images: mnist-mini, fashion-mnist-mini or digits (in the package), mnist, fashion-mnist or cifar100 (read
            from LIFELONG_DATA, or downloaded once); in Python also a `Source`.
        noise: how strong; white is 1. Default: what makes corpus 1 a task of about 90%.
        kind: gaussian with that standard deviation, or uniform between 0 and it. Default: the source's.
        seed: of the noise, and of which examples are drawn.
        scenario: domain, task or class.
        examples: at most so many training images, drawn at random, the same for both corpora.
        test_examples: at most so many test images, drawn likewise.
        pad: black pixels added on each side before the noise.

    Raises:
        DataError: an unknown source or kind; a number out of range.
    """
    usual = NOISE.get(source if isinstance(source, str) else source.name, FEW_IMAGES)
    kind = usual[0] if kind is None else kind
    noise = usual[1] if noise is None else noise
    if kind not in ("gaussian", "uniform"):
        raise DataError(f"kind {kind!r}: expected 'gaussian' or 'uniform'")
    if not (math.isfinite(noise) and noise >= 0):
        raise DataError(f"noise {noise}: expected 0 or more (white is 1)")
    # drawn once, not for each task: both corpora hold the same digits
    clean = _fewer(_given(source, pad), examples, test_examples, seed)
    noisy = replace(
        clean,
        train_x=_add_noise(clean.train_x, kind, noise, generator(seed, "noise/train")),
        test_x=_add_noise(clean.test_x, kind, noise, generator(seed, "noise/test")),
    )
    variants: list[_Variant] = [("noisy", noisy, None), ("clean", clean, None)]
    notes = {"noise": noise, "kind": kind, **_notes(seed, examples, test_examples, pad)}
    return _alike("two_corpora", variants, scenario, seed, None, None, notes)


@remembered
def permuted(
    source: str | Source = "mnist-mini",
    tasks: int = 10,
    seed: int = 0,
    scenario: Scenario = "domain",
    first_identity: bool = False,
    examples: int | None = None,
    test_examples: int | None = None,
    pad: int = 0,
) -> Stream:
    """Each task moves the pixels in its own way (Goodfellow et al. 2013, arXiv 1312.6211).

    Args:
        source: labelled images: mnist-mini, fashion-mnist-mini or digits (in the package), mnist, fashion-mnist or cifar100 (read
            from LIFELONG_DATA, or downloaded once); in Python also a `Source`.
        tasks: how many permutations.
        seed: of the permutations, and of which examples are drawn.
        scenario: domain, task or class.
        first_identity: whether the first task leaves the images as they are.
        examples: at most so many training images a task, drawn for each task anew (GEM: 1000).
        test_examples: at most so many test images a task, drawn likewise.
        pad: black pixels added on each side before they are moved (van de Ven & Tolias 2019: 2).

    Raises:
        DataError: an unknown source; a number out of range.
    """
    _at_least_one_task(tasks)
    given = _given(source, pad)
    pixels = given.train_x[0].numel()
    variants: list[_Variant] = []
    for t in range(tasks):
        order = torch.randperm(pixels, generator=generator(seed, f"permutation/{t}"))
        identity = first_identity and t == 0
        variants.append((f"p{t + 1}", given, None if identity else Permute(order)))
    notes = {"first_identity": first_identity, **_notes(seed, examples, test_examples, pad)}
    return _alike("permuted", variants, scenario, seed, examples, test_examples, notes)


@remembered
def rotated(
    source: str | Source = "mnist-mini",
    tasks: int = 10,
    seed: int = 0,
    scenario: Scenario = "domain",
    max_degrees: float = 180.0,
    protocol: Literal["gem", "even"] = "gem",
    examples: int | None = None,
    test_examples: int | None = None,
    pad: int = 0,
) -> Stream:
    """Each task turns the images by its own angle (Lopez-Paz & Ranzato 2017, arXiv 1706.08840).

    The range up to `max_degrees` is cut into as many equal parts as there are tasks. The angles
    stand in ``stream.notes["degrees"]``, by task.

    Args:
        source: labelled images: mnist-mini, fashion-mnist-mini or digits (in the package), mnist, fashion-mnist or cifar100 (read
            from LIFELONG_DATA, or downloaded once); in Python also a `Source`.
        tasks: how many angles.
        seed: of the angles, and of which examples are drawn.
        scenario: domain, task or class.
        max_degrees: the end of the range of angles, counter-clockwise.
        protocol: gem draws each task's angle anywhere in its part of the range; even takes where
            the part begins, so that the first task is not turned.
        examples: at most so many training images a task, drawn for each task anew (GEM: 1000).
        test_examples: at most so many test images a task, drawn likewise.
        pad: black pixels added on each side before the image is turned.

    Raises:
        DataError: an unknown source; a number out of range.
    """
    _at_least_one_task(tasks)
    if protocol not in ("gem", "even"):
        raise DataError(f"protocol {protocol!r}: expected 'gem' or 'even'")
    if not math.isfinite(max_degrees):
        raise DataError(f"max_degrees {max_degrees}: expected a finite angle")
    given = _given(source, pad)
    variants: list[_Variant] = []
    degrees: dict[str, float] = {}
    for t in range(tasks):
        within = 0.0
        if protocol == "gem":
            draws = generator(seed, f"angle/{t}")
            within = float(torch.rand((), generator=draws, dtype=torch.float64))
        name = f"r{t + 1}"
        degrees[name] = max_degrees * (t + within) / tasks
        variants.append((name, given, Rotate(degrees[name])))
    common = _notes(seed, examples, test_examples, pad)
    notes = {"protocol": protocol, "degrees": degrees, **common}
    return _alike("rotated", variants, scenario, seed, examples, test_examples, notes)


@remembered
def split(
    source: str | Source = "mnist-mini",
    tasks: int = 5,
    seed: int = 0,
    scenario: Scenario = "class",
    order: Literal["random", "superclass"] | None = None,
    examples: int | None = None,
    test_examples: int | None = None,
    pad: int = 0,
    features: Literal["efficientnet-lite0"] | None = None,
    size: int = 64,
) -> Stream:
    """Each task has its own classes: digits 0/1, 2/3, and so on (Zenke et al. 2017, arXiv
    1703.04200).

    In the scenarios "task" and "class" an output is a class of the source. In "domain" it is a
    place within the task (first or second of its two digits), so all tasks need as many classes.
    Otherwise the first tasks have one class more where the classes do not divide evenly.

    Args:
        source: labelled images: mnist-mini, fashion-mnist-mini or digits (in the package), mnist, fashion-mnist or cifar100 (read
            from LIFELONG_DATA, or downloaded once); in Python also a `Source`.
        tasks: into how many tasks the classes are divided.
        seed: of the order of the classes where it is random, and of which examples are drawn.
        scenario: class, task or domain.
        order: random shuffles the classes before they are divided; superclass puts those of one superclass side by side
            (cifar100 has twenty of five classes: 20 tasks are one each); none keeps their order.
        examples: at most so many training images a task, drawn at random.
        test_examples: at most so many test images a task, drawn at random.
        pad: black pixels added on each side.
        features: in place of the images, what a frozen network makes of them (colour images; the extra ``vision``); computed once
            and kept.
        size: height and width at which that network sees them.

    Raises:
        DataError: an unknown source; more tasks than classes; tasks of different sizes in the
            scenario "domain"; a number out of range.
    """
    _at_least_one_task(tasks)
    given = _given(source, pad)
    names = given.class_names
    groups = _divided(given, tasks, seed, scenario, order)

    output = torch.arange(len(names))  # of each class of the source
    if scenario == "domain":
        for group in groups:
            output[list(group)] = torch.arange(len(group))
    train_y, test_y = output[given.train_y], output[given.test_y]
    made = []
    for t, group in enumerate(groups):
        chosen = torch.tensor(group)
        train = torch.isin(given.train_y, chosen).nonzero().squeeze(1)
        test = torch.isin(given.test_y, chosen).nonzero().squeeze(1)
        made.append(
            Task(
                "/".join(names[c] for c in group),
                Tensors(given.train_x, train_y, _draw(train, examples, seed, f"train/{t}")),
                Tensors(given.test_x, test_y, _draw(test, test_examples, seed, f"test/{t}")),
                tuple(output[list(group)].tolist()),
            )
        )
    outputs = names
    if scenario == "domain":
        outputs = tuple("/".join(names[c] for c in place) for place in zip(*groups))
    notes = {"order": order, **_notes(seed, examples, test_examples, pad)}
    stream = Stream(tuple(made), scenario, outputs, "split", _said(given), notes)
    if features is None:
        return stream
    from .features import efficientnet_lite0, kept

    return kept(stream, efficientnet_lite0(size))


def _divided(
    source: Source, tasks: int, seed: int, scenario: Scenario, order: Literal["random", "superclass"] | None
) -> list[tuple[int, ...]]:
    """The classes of each task of `split`."""
    if order not in (None, "random", "superclass"):
        raise DataError(f"order {order!r}: expected None (as the classes come), 'random' or 'superclass'")
    names = source.class_names
    if tasks > len(names):
        raise DataError(
            f"{tasks} tasks of {len(names)} classes: each task needs a class of its own; ask for "
            f"at most {len(names)} tasks"
        )
    if scenario == "domain" and len(names) % tasks:
        raise DataError(
            f"{len(names)} classes do not divide evenly into {tasks} tasks, and in the scenario "
            "'domain' every task has the same outputs: choose another number of tasks, or the "
            "scenario 'task' or 'class'"
        )
    classes = torch.arange(len(names))
    if order == "random":
        classes = torch.randperm(len(names), generator=generator(seed, "class order"))
    if order == "superclass":
        if source.superclass is None:
            raise DataError(f"source {source.name!r} has no superclasses; 'cifar100' has")
        classes = torch.tensor(source.superclass).argsort(stable=True)
    return [tuple(group.tolist()) for group in classes.tensor_split(tasks)]


@remembered
def mixed(
    first: str | Source = "mnist-mini",
    second: str | Source = "fashion-mnist-mini",
    tasks: int = 10,
    seed: int = 0,
    scenario: Scenario = "task",
    examples: int | None = None,
    test_examples: int | None = None,
    pad: int = 0,
) -> Stream:
    """Two sources, each split as `split` does, in turn: a task of digits, a task of clothes, and so on. What helps a task is
    every other one before it.

    Args:
        first: labelled images of the first, third, ... task.
        second: those of the others, of the same size.
        tasks: how many, half of each source.
        seed: of which examples are drawn.
        scenario: task, class or domain.
        examples: at most so many training images a task, drawn at random.
        test_examples: at most so many test images a task, drawn at random.
        pad: black pixels added on each side.

    Raises:
        DataError: an odd number of tasks; images of two sizes; what `split` raises.
    """
    if tasks < 2 or tasks % 2:
        raise DataError(f"{tasks} tasks: expected an even number, half of each source")
    one, other = (split(s, tasks // 2, seed, scenario, None, examples, test_examples, pad) for s in (first, second))
    beyond = 0 if scenario == "domain" else one.outputs  # outputs of the second source come behind the first's
    shifted = [
        replace(
            task,
            train=replace(task.train, y=task.train.y + beyond),  # type: ignore[type-var,attr-defined]
            test=replace(task.test, y=task.test.y + beyond),  # type: ignore[type-var,attr-defined]
            classes=tuple(c + beyond for c in task.classes),
        )
        for task in other
    ]
    names = (*one.class_names, *other.class_names)
    if scenario == "domain":
        if one.outputs != other.outputs:
            raise DataError(
                f"{one.outputs} classes a task of one source, {other.outputs} of the other: in 'domain' all have as many"
            )
        names = tuple("/".join(pair) for pair in zip(one.class_names, other.class_names))
    made = tuple(task for pair in zip(one, shifted) for task in pair)
    source = f"{one.source} and {other.source}" if one.source != other.source else one.source
    return Stream(made, scenario, names, "mixed", source, _notes(seed, examples, test_examples, pad))


_Variant = tuple[str, Source, Transform | None]  # a task's name, its images, what it does to them


def _alike(
    name: str,
    variants: Sequence[_Variant],
    scenario: Scenario,
    seed: int,
    examples: int | None,
    test_examples: int | None,
    notes: dict[str, Any],
) -> Stream:
    """The stream whose tasks all show the classes of one source."""
    source = variants[0][1]
    width = len(source.class_names)
    every_train, every_test = torch.arange(len(source.train_x)), torch.arange(len(source.test_x))
    tasks: list[Task] = []
    names: list[str] = list(source.class_names) if scenario == "domain" else []
    for t, (title, images, transform) in enumerate(variants):
        first = 0 if scenario == "domain" else width * t
        train_y, test_y = images.train_y, images.test_y
        if first:
            train_y, test_y = train_y + first, test_y + first
        # rows only where some are left out: None shares the images without an index of them all
        train = None if examples is None else _draw(every_train, examples, seed, f"train/{t}")
        test = None if test_examples is None else _draw(every_test, test_examples, seed, f"test/{t}")
        tasks.append(
            Task(
                title,
                Tensors(images.train_x, train_y, train, transform),
                Tensors(images.test_x, test_y, test, transform),
                tuple(range(first, first + width)),
            )
        )
        if scenario != "domain":
            names += [f"{title}:{c}" for c in source.class_names]
    return Stream(tuple(tasks), scenario, tuple(names), name, _said(source), notes)


def _given(source: str | Source, pad: int) -> Source:
    if pad < 0:
        raise DataError(f"pad {pad}: expected 0 or more pixels on each side")
    images = load(source) if isinstance(source, str) else source
    if not pad:
        return images
    train, test = (F.pad(x, (pad, pad, pad, pad)) for x in (images.train_x, images.test_x))
    return replace(images, train_x=train, test_x=test)


def _fewer(source: Source, examples: int | None, test_examples: int | None, seed: int) -> Source:
    if examples is not None:
        rows = _draw(torch.arange(len(source.train_x)), examples, seed, "train")
        source = replace(source, train_x=source.train_x[rows], train_y=source.train_y[rows])
    if test_examples is not None:
        rows = _draw(torch.arange(len(source.test_x)), test_examples, seed, "test")
        source = replace(source, test_x=source.test_x[rows], test_y=source.test_y[rows])
    return source


def _add_noise(x: Tensor, kind: Noise, strength: float, draws: torch.Generator) -> Tensor:
    noisy = torch.empty_like(x)
    draw = torch.randn if kind == "gaussian" else torch.rand
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        values = draw(part.shape, generator=draws).mul_(255 * strength).add_(part)
        noisy[start : start + ROWS] = values.round_().clamp_(0, 255)
    return noisy


def _draw(rows: Tensor, limit: int | None, seed: int, name: str) -> Tensor:
    """At most `limit` of `rows`, at random."""
    if limit is None:
        return rows
    if limit < 1:
        raise DataError(f"{limit} examples a task: expected at least 1")
    return rows[torch.randperm(len(rows), generator=generator(seed, f"draw/{name}"))[:limit]]


def _at_least_one_task(tasks: int) -> None:
    if tasks < 1:
        raise DataError(f"{tasks} tasks: a stream needs at least 1")


def _said(source: Source) -> str:
    return f"{source.name} ({source.origin})"


def _notes(seed: int, examples: int | None, test_examples: int | None, pad: int) -> dict[str, Any]:
    said = {"seed": seed, "examples": examples, "test_examples": test_examples, "pad": pad or None}
    return {key: value for key, value in said.items() if value is not None}
