"""Streams of images against brute force: every pixel, every label, every draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from drawn_images import images, tensors
from lifelong.core.errors import DataError
from lifelong.core.examples import Tensors
from lifelong.core.stream import Scenario, Stream
from lifelong.nets import MLP
from lifelong.streams import NOISE, SOURCES, Permute, Rotate, load, permuted, rotated, split, two_corpora
from lifelong.streams.images import FEW_IMAGES
from lifelong.training.learner import Learner
from lifelong.training.settings import Training


# --- permuted ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_permutation_pixel_by_pixel(dtype: torch.dtype) -> None:
    x = torch.randint(0, 256, (3, 4, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    index = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    moved = Permute(index)(x)
    assert moved.dtype == dtype
    assert moved.shape == x.shape
    for n in range(3):
        for i in range(20):
            assert moved[n, i // 5, i % 5] == x[n, index[i] // 5, index[i] % 5]
    assert torch.equal(Permute(index)(x[1:2])[0], moved[1])


def test_permuted_tasks_are_permutations_of_the_same_images() -> None:
    source = images()
    stream = permuted(source, tasks=5, seed=3)
    assert (stream.name, stream.source, stream.scenario) == ("permuted", "drawn (by hand)", "domain")
    assert [t.name for t in stream] == ["p1", "p2", "p3", "p4", "p5"]
    assert stream.class_names == source.class_names
    seen = set()
    for t, task in enumerate(stream):
        assert isinstance(task.train, Tensors)
        assert isinstance(task.train.transform, Permute)
        index = task.train.transform.index
        assert sorted(index.tolist()) == list(range(36))
        seen.add(tuple(index.tolist()))
        for part, x, y in (("train", source.train_x, source.train_y), ("test", source.test_x, source.test_y)):
            moved, labels = tensors(stream, t, part)
            assert torch.equal(moved.flatten(1), x.flatten(1)[:, index])
            assert torch.equal(labels, y)
    assert len(seen) == 5


def test_a_permutation_depends_on_the_seed_and_its_place_only() -> None:
    source = images()
    short, long, other = permuted(source, 2, seed=1), permuted(source, 4, seed=1), permuted(source, 2, seed=2)
    assert torch.equal(tensors(short, 1)[0], tensors(long, 1)[0])
    assert not torch.equal(tensors(short, 1)[0], tensors(other, 1)[0])
    first = permuted(source, 2, seed=1, first_identity=True)
    assert torch.equal(tensors(first, 0)[0], source.train_x)
    assert torch.equal(tensors(first, 1)[0], tensors(short, 1)[0])


def test_a_hundred_tasks_hold_one_copy() -> None:
    source = images()
    one = sum(t.numel() * t.element_size() for t in (source.train_x, source.train_y, source.test_x, source.test_y))
    for stream in (permuted(source, 100), rotated(source, 100), split(source, 4, scenario="task")):
        held = {t.train.x.data_ptr() for t in stream if isinstance(t.train, Tensors)}
        assert held == {source.train_x.data_ptr()}
    assert permuted(source, 100).nbytes == rotated(source, 100).nbytes == one


def test_padding_comes_before_the_permutation() -> None:
    source = images()
    stream = permuted(source, 3, pad=2)
    assert stream.shape == (10, 10)
    assert stream.notes["pad"] == 2
    padded = torch.zeros(40, 10, 10, dtype=torch.uint8)
    padded[:, 2:8, 2:8] = source.train_x
    task = stream[1].train
    assert isinstance(task, Tensors)
    assert isinstance(task.transform, Permute)
    assert torch.equal(tensors(stream, 1)[0].flatten(1), padded.flatten(1)[:, task.transform.index])
    assert len({t.train.x.data_ptr() for t in stream if isinstance(t.train, Tensors)}) == 1


# --- rotated -----------------------------------------------------------------------------------------------------------
def test_rotations_that_are_exact() -> None:
    x = load("mnist-mini").train_x[:50]
    for quarter in range(-3, 5):
        assert torch.equal(Rotate(90.0 * quarter)(x), torch.rot90(x, quarter, (1, 2)))
    colour = x.unflatten(0, (10, 5))  # [N, C, H, W]
    assert torch.equal(Rotate(90.0)(colour), torch.rot90(colour, 1, (2, 3)))


def test_a_rotation_pixel_by_pixel() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 7, 5), generator=g, dtype=torch.uint8)
    degrees = 33.0
    turned, exact = Rotate(degrees)(x), Rotate(degrees)(x.double())
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def pixel(n: int, i: int, j: int) -> float:
        return float(x[n, i, j]) if 0 <= i < 7 and 0 <= j < 5 else 0.0

    for n in range(2):
        for i in range(7):
            for j in range(5):
                # counter-clockwise with rows downwards: where the pixel came from
                u, v = j - 2, i - 3
                from_j, from_i = c * u - s * v + 2, s * u + c * v + 3
                top, left = math.floor(from_i), math.floor(from_j)
                a, b = from_i - top, from_j - left
                expected = (
                    (1 - a) * (1 - b) * pixel(n, top, left)
                    + (1 - a) * b * pixel(n, top, left + 1)
                    + a * (1 - b) * pixel(n, top + 1, left)
                    + a * b * pixel(n, top + 1, left + 1)
                )
                assert float(exact[n, i, j]) == pytest.approx(expected, abs=1e-4)
                assert abs(int(turned[n, i, j]) - expected) <= 0.5 + 1e-3


def test_a_row_is_turned_alike_whatever_comes_with_it() -> None:
    x = load("mnist-mini").train_x[:1100]
    turn = Rotate(47.3)
    all_ = turn(x)
    for start, stop in ((0, 1), (3, 10), (500, 530), (511, 1100)):
        assert torch.equal(turn(x[start:stop]), all_[start:stop])


def test_angles_are_drawn_in_their_part_of_the_range() -> None:
    source = images()
    for seed in range(5):
        stream = rotated(source, tasks=20, seed=seed)
        degrees = stream.notes["degrees"]
        assert list(degrees) == [t.name for t in stream]
        for t, task in enumerate(stream):
            assert 9 * t <= degrees[task.name] < 9 * (t + 1)
            assert isinstance(task.train, Tensors)
            assert task.train.transform == Rotate(degrees[task.name])
        if seed:
            assert degrees != rotated(source, tasks=20, seed=0).notes["degrees"]
    even = rotated(source, tasks=4, max_degrees=90.0, protocol="even")
    assert list(even.notes["degrees"].values()) == [0.0, 22.5, 45.0, 67.5]
    assert torch.equal(tensors(even, 0)[0], source.train_x)
    assert torch.equal(tensors(even, 2, "test")[0], Rotate(45.0)(source.test_x))


# --- two corpora -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_two_corpora_are_the_same_digits(kind: Any) -> None:
    source = load("mnist-mini")
    stream = two_corpora(noise=0.5, kind=kind, seed=5)
    assert [t.name for t in stream] == ["noisy", "clean"]
    assert stream.notes == {"noise": 0.5, "kind": kind, "seed": 5}
    for part, x, y in (("train", source.train_x, source.train_y), ("test", source.test_x, source.test_y)):
        (noisy, a), (clean, b) = tensors(stream, 0, part), tensors(stream, 1, part)
        assert torch.equal(clean, x)
        assert torch.equal(a, y)
        assert torch.equal(b, y)
        black, white = noisy[x == 0].float() / 255, noisy[x == 255].float() / 255
        if kind == "gaussian":
            # mean 0 and deviation s, cut at 0: half are 0, the mean is s/√(2π), less what is cut at 1
            assert float(black.mean()) == pytest.approx(0.5 / math.sqrt(2 * math.pi) - 0.0042, abs=2e-3)
            assert float((black == 0).float().mean()) == pytest.approx(0.5, abs=5e-3)
            assert float((1 - white).mean()) == pytest.approx(float(black.mean()), abs=6e-3)
        else:
            assert float(black.mean()) == pytest.approx(0.25, abs=2e-3)
            assert float(black.max()) <= 0.5 + 1 / 255
            assert bool((white == 1).all())
    again, other = (two_corpora(noise=0.5, kind=kind, seed=seed) for seed in (5, 6))
    assert torch.equal(tensors(again, 0)[0], tensors(stream, 0)[0])
    assert not torch.equal(tensors(other, 0)[0], tensors(stream, 0)[0])


def test_the_default_noise_is_the_source_s() -> None:
    for name in ("mnist", "drawn"):
        kind, noise = NOISE.get(name, FEW_IMAGES)
        notes = two_corpora(replace(images(), name=name)).notes
        assert (notes["kind"], notes["noise"]) == (kind, noise)


def test_corpus_1_is_a_task_of_about_90_percent_that_is_forgotten() -> None:
    stream = two_corpora().hold_out(0.2)
    torch.manual_seed(0)
    net = MLP((50, 50, 50))(stream.shape, stream.outputs)
    learner = Learner(net, training=Training(lr=0.1, batch_size=32, epochs=20), scenario="domain")
    learner.learn(stream[0])
    learnt = learner.evaluate(stream)[0][0]
    learner.learn(stream[1])
    assert 0.85 < learnt < 0.93
    assert learner.evaluate(stream)[0][0] < learnt - 0.02


def test_a_digit_held_out_is_held_out_of_both_corpora() -> None:
    held_out = two_corpora(images(classes=1), noise=0.0).hold_out(0.25)
    for part in ("train", "test"):
        assert torch.equal(tensors(held_out, 0, part)[0], tensors(held_out, 1, part)[0])


def test_noise_is_added_and_clipped() -> None:
    source = images()
    small = two_corpora(source, noise=0.01, kind="gaussian")
    apart = tensors(small, 0)[0].int() - source.train_x.int()
    inside = (source.train_x > 20) & (source.train_x < 235)
    assert float(apart[inside].float().std()) == pytest.approx(2.55, rel=0.1)
    assert torch.equal(tensors(two_corpora(source, noise=0.0), 0)[0], source.train_x)


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_fewer_examples_are_the_same_ones_in_both_corpora(scenario: Scenario) -> None:
    source = images(classes=1)
    stream = two_corpora(source, noise=0.0, examples=7, test_examples=3, scenario=scenario)
    for part, n in (("train", 7), ("test", 3)):
        noisy, clean = (tensors(stream, t, part)[0] for t in (0, 1))
        assert len(clean) == n
        assert torch.equal(noisy, clean)


# --- split -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("order", [None, "random"])
def test_split_divides_the_classes(scenario: Scenario, order: Any) -> None:
    source = images(classes=6)
    stream = split(source, tasks=3, scenario=scenario, order=order, seed=1)
    met = []
    for t, task in enumerate(stream):
        names = task.name.split("/")
        assert len(names) == 2
        own = [source.class_names.index(name) for name in names]
        met += own
        for part, x, y in (("train", source.train_x, source.train_y), ("test", source.test_x, source.test_y)):
            rows = [i for i in range(len(y)) if int(y[i]) in own]
            moved, labels = tensors(stream, t, part)
            assert torch.equal(moved, x[rows])
            expected = [own.index(int(y[i])) if scenario == "domain" else int(y[i]) for i in rows]
            assert labels.tolist() == expected
        assert task.classes == ((0, 1) if scenario == "domain" else tuple(own))
        assert all(name in stream.class_names[c].split("/") for name, c in zip(names, task.classes))
    assert sorted(met) == list(range(6))
    assert (met == list(range(6))) == (order is None)
    assert stream.outputs == (2 if scenario == "domain" else 6)


def test_split_of_digits_is_that_of_the_papers() -> None:
    assert [t.name for t in split()] == ["0/1", "2/3", "4/5", "6/7", "8/9"]
    assert [t.classes for t in split(tasks=3)] == [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]


# --- what all builders share -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize(("builder", "letter"), [(permuted, "p"), (rotated, "r")])
def test_other_tasks_have_other_classes_unless_the_scenario_is_domain(
    builder: Callable[..., Stream], letter: str, scenario: Scenario
) -> None:
    source = images()
    stream = builder(source, tasks=3, scenario=scenario)
    assert stream.scenario == scenario
    assert stream.class_names[9] == f"{letter}3:b"
    assert stream.outputs == 12
    for t, task in enumerate(stream):
        assert task.classes == tuple(range(4 * t, 4 * t + 4))
        for part, y in (("train", source.train_y), ("test", source.test_y)):
            assert torch.equal(tensors(stream, t, part)[1], y + 4 * t)
    assert two_corpora(source, scenario=scenario).class_names[4:] == ("clean:a", "clean:b", "clean:c", "clean:d")


@pytest.mark.parametrize("builder", [permuted, rotated, split, two_corpora])
def test_examples_are_drawn_and_their_number_is_kept_to(builder: Callable[..., Stream]) -> None:
    source = images(classes=5)
    stream = builder(source, examples=6, test_examples=4, seed=1)
    assert [len(t.train) for t in stream] == [6] * len(stream)
    assert [len(t.test) for t in stream] == [4] * len(stream)
    assert (stream.notes["examples"], stream.notes["test_examples"], stream.notes["seed"]) == (6, 4, 1)
    assert [len(t.train) for t in builder(source, examples=1000)] == [len(t.train) for t in builder(source)]


def test_each_permuted_task_draws_its_own_examples() -> None:
    stream = permuted(images(), tasks=2, examples=6, test_examples=5, seed=1)
    for part in ("train", "test"):
        rows = [getattr(task, part).rows.tolist() for task in stream]
        assert all(len(set(own)) == len(own) for own in rows)
        assert rows[0] != rows[1]
    again = permuted(images(), tasks=2, examples=6, seed=1)
    assert torch.equal(tensors(again, 1)[0], tensors(stream, 1)[0])


@pytest.mark.parametrize("builder", [permuted, rotated, split, two_corpora])
def test_numbers_that_make_no_stream_are_refused(builder: Callable[..., Stream]) -> None:
    source = images(classes=5)
    for wrong, said in (
        ({"examples": 0}, "0 examples a task: expected at least 1"),
        ({"test_examples": -1}, "-1 examples a task"),
        ({"pad": -1}, "pad -1: expected 0 or more"),
        ({"scenario": "tasks"}, "scenario 'tasks': expected one of"),
    ):
        with pytest.raises(DataError, match=said):
            builder(source, **wrong)
    if builder is not two_corpora:
        for tasks in (0, -1):
            with pytest.raises(DataError, match=f"{tasks} tasks: a stream needs at least 1"):
                builder(source, tasks=tasks)


def test_what_else_makes_no_stream() -> None:
    source = images()
    with pytest.raises(DataError, match="5 tasks of 4 classes"):
        split(source, tasks=5)
    with pytest.raises(DataError, match=r"4 classes do not divide evenly into 3 tasks.*'domain'"):
        split(source, tasks=3, scenario="domain")
    with pytest.raises(DataError, match="order 'shuffled'"):
        split(source, tasks=2, order="shuffled")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="protocol 'odd': expected 'gem' or 'even'"):
        rotated(source, protocol="odd")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="max_degrees inf"):
        rotated(source, max_degrees=math.inf)
    for noise in (-0.1, math.nan, math.inf):
        with pytest.raises(DataError, match=r"noise .*: expected 0 or more"):
            two_corpora(source, noise=noise)
    with pytest.raises(DataError, match="kind 'white': expected 'gaussian' or 'uniform'"):
        two_corpora(source, kind="white")  # type: ignore[arg-type]


def test_every_shipped_source_makes_every_stream() -> None:
    for name in SOURCES[:3]:
        for builder in (two_corpora, permuted, rotated, split):
            stream = builder(name)
            assert stream.source == f"{name} (shipped with the package)"
            assert float(next(stream[1].train.all(64)).x.max()) <= 1
