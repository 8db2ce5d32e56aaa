"""Labels as people have them: of any type, of data sets that number their own classes, and those that would be misread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lifelong.core.errors import DataError
from lifelong.core.examples import Lazy
from lifelong.core.stream import Stream
from lifelong.streams import Source, from_frame, permuted, split, stream_of

pd = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[test]'")


class Items(Dataset[Any]):
    """A data set of these items, with what else it is to have."""

    def __init__(self, items: list[Any], **more: Any) -> None:
        self.items = items
        self.__dict__.update(more)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = [0, 1, 2] * 4


def named(stream: Stream, task: int = 0) -> list[str]:
    """The names of a task's classes, row by row, where its test data are its training data."""
    return [stream.class_names[c] for c in stream[task].train.labels.tolist()]


@pytest.mark.parametrize("in_memory", [True, False])
def test_tokens_with_their_length(in_memory: bool) -> None:
    lengths = [5, 7, 9] * 4
    data = Items([(X[i], lengths[i], Y[i]) for i in range(12)])
    with pytest.raises(DataError, match=r"items have 3 parts \(0: Tensor \[3\], 1: int, 2: int\).*x=0, y=2"):
        stream_of([data], in_memory=in_memory)
    with pytest.raises(DataError, match="items have 3 parts"):
        stream_of([data], in_memory=in_memory, y=2)
    stream = stream_of([data], test=[data], in_memory=in_memory, x=0, y=2)
    assert named(stream) == [str(y) for y in Y]
    assert isinstance(stream[0].train, Lazy) is not in_memory
    with pytest.raises(DataError, match="items have no part 3: expected a place, 0 to 2"):
        stream_of([data], in_memory=in_memory, x=0, y=3)
    tensors = TensorDataset(X, torch.tensor(lengths), torch.tensor(Y))
    with pytest.raises(DataError, match="items have 3 parts"):
        stream_of([tensors], in_memory=in_memory)
    assert named(stream_of([tensors], test=[tensors], in_memory=in_memory, x=0, y=2)) == [str(y) for y in Y]
    swapped = TensorDataset(torch.tensor(Y), X)
    assert named(stream_of([swapped], test=[swapped], x=1, y=0)) == [str(y) for y in Y]


def test_a_dictionary_with_two_inputs_or_two_labels() -> None:
    rows = Items([{"image": X[i], "pixel_values": 2 * X[i], "label": Y[i], "target": 9} for i in range(12)])
    with pytest.raises(
        DataError, match="items have 'image' and 'pixel_values': say which is meant with x='image' or another"
    ):
        stream_of([rows])
    with pytest.raises(DataError, match="items have 'label' and 'target': say which is meant with y='label'"):
        stream_of([rows], x="image")
    assert named(stream_of([rows], test=[rows], x="pixel_values", y="label")) == [str(y) for y in Y]


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, np.uint16, np.uint64, np.int32, np.bool_, bool],
)
def test_labels_of_any_integer_type(dtype: Any) -> None:
    y = torch.tensor(Y, dtype=dtype) if isinstance(dtype, torch.dtype) else np.array(Y).astype(dtype)
    truth = [int(c) for c in np.asarray(y).tolist()]
    for labels in (y, list(y), list(np.asarray(y))):
        stream = stream_of([(X, labels)], test=[(X, labels)])
        assert named(stream) == [str(c) for c in truth]
        assert stream[0].train.labels.dtype == torch.int64
    items = Items([(X[i], y[i]) for i in range(12)])
    assert named(stream_of([items], test=[items])) == [str(c) for c in truth]
    frame = pd.DataFrame({"a": X[:, 0].numpy(), "task": 0, "kind": np.asarray(y)})
    assert named(from_frame(frame, "task", "kind", test=frame)) == [str(c) for c in truth]


def test_images_with_labels_of_bytes() -> None:
    """As they are read from an IDX file; as an index bytes would be a mask."""
    x, y = torch.randint(0, 256, (20, 4, 4), dtype=torch.uint8), torch.arange(20) % 4
    wanted = Source("mine", "here", x, y, x, y, ("a", "b", "c", "d"))
    given = Source("mine", "here", x, y.to(torch.uint8), x, y.to(torch.int32), ("a", "b", "c", "d"))
    for make in (
        lambda s: split(s, tasks=2),
        lambda s: permuted(s, tasks=2, scenario="class"),
        lambda s: permuted(s, tasks=2),
    ):
        for one, other in zip(make(given), make(wanted)):
            assert torch.equal(one.train.labels, other.train.labels)
            assert one.test.labels.dtype == torch.int64
    for wrong in (y.float(), y[:, None]):
        with pytest.raises(DataError, match=r"train_y is .*, expected whole numbers \[N\]"):
            Source("mine", "here", x, wrong, x, y, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor(Y)[:, None], r"labels have shape \[12, 1\].*a column becomes \[N\] by reshape\(-1\)"),
        (torch.eye(3)[Y], r"labels have shape \[12, 3\].*one-hot rows become labels by argmax\(1\)"),
        (torch.rand(12, 3), r"labels have shape \[12, 3\].*several targets an example are no classes"),
        (torch.tensor(Y).float(), r"label 0\.0 \(example 0\).*\.long\(\)\) if they are classes"),
        (np.array(Y) + 0.5, r"label 0\.5 \(example 0\) is neither a whole number nor a string"),
        (torch.tensor(Y).bfloat16(), r"label 0\.0 \(example 0\)"),
        ("abcabcabcabc", "labels are a str, expected a list"),
        (set(range(12)), "labels are a set, expected a list"),
        ([[c] for c in Y], r"label \[0\] \(example 0\).*each is of shape \[1\]: a column becomes"),
        ([*Y[:-1], pd.NA], "label <NA>"),
        (np.ma.masked_array(Y, [True] + [False] * 11), "label None"),
    ],
    ids=[
        *("a column", "one-hot", "several targets", "whole floats", "halves", "bfloat16"),
        *("a string", "a set", "lists", "missing", "masked"),
    ],
)
def test_labels_that_would_be_misread(labels: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        stream_of([(X, labels)])


@pytest.mark.parametrize("in_memory", [True, False])
def test_items_whose_label_is_a_tensor_of_one(in_memory: bool) -> None:
    data = Items([(X[i], torch.tensor([Y[i]])) for i in range(12)])
    with pytest.raises(DataError, match=r"each is of shape \[1\]: a column becomes \[N\] by reshape"):
        stream_of([data], in_memory=in_memory)


def test_labels_beside_the_items_that_are_others() -> None:
    items = [(X[i], Y[i]) for i in range(12)]
    shuffled = Items(items, targets=Y[::-1])
    assert named(stream_of([shuffled], test=[shuffled])) == [str(y) for y in Y]  # every item is read anyway
    with pytest.raises(DataError, match=r"item 0 has the label 0, .*\(targets, labels or a column\) say 2: .* y=1"):
        stream_of([shuffled], in_memory=False)
    assert named(stream_of([shuffled], test=[shuffled], in_memory=False, y=1)) == [str(y) for y in Y]
    shorter = Items(items, targets=[9, 9])
    for in_memory in (True, False):
        assert named(stream_of([shorter], test=[shorter], in_memory=in_memory)) == [str(y) for y in Y]


@pytest.mark.parametrize("in_memory", [True, False])
def test_image_folders_that_number_their_own_classes(in_memory: bool) -> None:
    """torchvision's ImageFolder: number 1 is a dog at the first site and a pig at the second."""
    sites = [
        Items([(X[i], (1, 0)[i % 2]) for i in range(12)], classes=["cat", "dog"]),
        Items([(X[i], (1, 0)[i % 2]) for i in range(12)], classes=["cat", "pig"]),
    ]
    stream = stream_of(sites, test=sites, in_memory=in_memory)
    assert stream.class_names == ("cat", "dog", "pig")  # in the order of the numbers, not of the rows
    assert named(stream, 1) == ["pig", "cat"] * 6
    part = Subset(sites[1], [0, 2, 4, 5])
    assert named(stream_of([part], test=[part], in_memory=in_memory)) == ["pig", "pig", "pig", "cat"]
    with pytest.raises(DataError, match="data sets that are joined name their classes differently"):
        stream_of([ConcatDataset(sites)], in_memory=in_memory)
    assert stream_of([ConcatDataset([sites[0], sites[0]])], in_memory=in_memory).class_names == ("cat", "dog")
    shifted = Items([(X[i], 10 + i % 2) for i in range(12)], classes=["cat", "dog"], target_transform=abs)
    assert stream_of([shifted], in_memory=in_memory).class_names == ("10", "11")
    with pytest.raises(DataError, match=r"task 2: label 3 .* is none of the 2 classes that the data set names"):
        stream_of([sites[0], Items([(X[i], 3) for i in range(12)], classes=["cat", "dog"])], in_memory=in_memory)
    with pytest.raises(DataError, match="some tasks' labels are numbers and others' strings"):
        stream_of([sites[0]], test=[(X, [0, 1] * 6)], in_memory=in_memory)


@pytest.mark.parametrize("in_memory", [True, False])
def test_labels_of_hugging_face_that_are_missing(in_memory: bool) -> None:
    class Label:
        names = ("neg", "pos")

    class Table(Items):
        features = {"x": None, "label": Label()}  # noqa: RUF012 (as theirs)
        column_names = ("x", "label")

        def __getitem__(self, index: Any) -> Any:
            return [item[index] for item in self.items] if isinstance(index, str) else self.items[index]

    rows = Table([{"x": X[i], "label": i % 2} for i in range(12)])
    assert named(stream_of([rows], test=[rows], in_memory=in_memory)) == ["neg", "pos"] * 6
    unlabelled = Table([{"x": X[i], "label": -1} for i in range(12)])
    with pytest.raises(
        DataError, match=r"label -1 \(example 0\) is none of the 2 classes that the data set names \(neg, pos\)"
    ):
        stream_of([unlabelled], in_memory=in_memory)


def test_a_label_of_the_test_data_alone() -> None:
    with pytest.raises(DataError, match="task 'task 1' is tested on 2, which none of its training examples is"):
        stream_of([(X, [0, 1] * 6)], test=[(X, Y)])


def test_a_frame_that_says_a_column_twice_or_shows_the_label() -> None:
    frame = pd.DataFrame({"month": [1, 2] * 4, "a": range(8), "kind": ["x", "y"] * 4})
    with pytest.raises(DataError, match="features hold the label 'kind'"):
        from_frame(frame, "month", "kind", ["a", "kind"])
    twice = pd.concat([frame, frame[["a"]]], axis=1)
    with pytest.raises(DataError, match="2 columns are called 'a'"):
        from_frame(twice, "month", "kind")
    fractions = frame.assign(kind=[0.0, 1.0] * 4)
    with pytest.raises(DataError, match=r"column 'kind', task '1': label 0\.0"):
        from_frame(fractions, "month", "kind")
