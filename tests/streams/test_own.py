"""Your own data, in every form in which they may come."""

from __future__ import annotations

import builtins
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from lifelong.core.errors import DataError
from lifelong.core.examples import Lazy, Tensors
from lifelong.core.stream import Stream
from lifelong.streams import from_folder, from_frame, stream_of

pd = pytest.importorskip("pandas", reason="needs pandas: pip install -e '.[test]'")
Image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install -e '.[test]'")


def pair(labels: list[Any], seed: int = 0) -> tuple[Tensor, list[Any]]:
    """Inputs that say which example they are, in their first column."""
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    x[:, 0] = torch.arange(len(labels))
    return x, labels


def all_of(stream: Stream, task: int, part: str) -> tuple[Tensor, list[str]]:
    """A task's inputs, and its labels by name."""
    chunks = list(getattr(stream[task], part).all(3))
    names = [stream.class_names[c] for chunk in chunks for c in chunk.y.tolist()]
    return torch.cat([chunk.x for chunk in chunks]), names


# --- pairs ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["tensor", "array", "list", "int8", "object"])
def test_pairs(kind: str) -> None:
    makes: dict[str, Any] = {
        "tensor": torch.tensor,
        "array": np.array,
        "list": list,
        "int8": lambda y: np.array(y, np.int8),
        "object": lambda y: np.array(y, object),
    }
    make = makes[kind]
    a, b = pair([7, 3, 3, 7]), pair([5, 3, 5, 3], seed=1)
    data = [(a[0].numpy() if kind == "array" else a[0], make(a[1])), (b[0], make(b[1]))]
    stream = stream_of(data, test=data, names=["one", "two"])
    assert [t.name for t in stream] == ["one", "two"]
    assert stream.scenario == "class"
    # whole numbers are sorted within a task; a task's new ones come after those before
    assert stream.class_names == ("3", "7", "5")
    assert [t.classes for t in stream] == [(0, 1), (0, 2)]
    for t, (x, y) in enumerate((a, b)):
        for part in ("train", "test"):
            inputs, names = all_of(stream, t, part)
            assert torch.equal(inputs, x)
            assert names == [str(label) for label in y]


def test_strings_are_numbered_in_the_order_they_appear_in() -> None:
    data = [pair(["dog", "cat", "dog"]), pair(["cow", "cat", "ape"])]
    for make in (list, np.array, lambda y: np.array(y, object)):
        stream = stream_of([(x, make(y)) for x, y in data], test=data)
        assert stream.class_names == ("dog", "cat", "cow", "ape")
        assert [t.classes for t in stream] == [(0, 1), (1, 2, 3)]
        assert all_of(stream, 1, "train")[1] == ["cow", "cat", "ape"]


def test_inputs_are_not_copied() -> None:
    x, y = pair([0, 1] * 5)
    stream = stream_of([(x, y)])
    task = stream[0]
    assert isinstance(task.train, Tensors)
    assert isinstance(task.test, Tensors)
    assert task.train.x.data_ptr() == task.test.x.data_ptr() == x.data_ptr()


def test_arrays_that_a_tensor_cannot_share_are_copied() -> None:
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    x.setflags(write=False)
    for own in (x, x[::-1], np.asfortranarray(x)):
        stream = stream_of([(own, [0, 1] * 4)], test=[(own, [0, 1] * 4)])
        assert np.array_equal(all_of(stream, 0, "train")[0].numpy(), own)


# --- what is held out -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memory_map_stays_on_disk(mode: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asarray(X))
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    for array in (mapped, mapped[2:]):
        x = stream_of([(array, [str(i % 2) for i in range(len(array))])], test=[(array, ["0"] * len(array))])[0].train.x
        assert x.data_ptr() == array.ctypes.data
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.asarray(X))


def test_a_fraction_is_held_out_and_each_class_keeps_an_example() -> None:
    data = [pair([0] * 50 + [1] * 49 + [2]), pair([3] * 5 + [4] * 5, seed=1)]
    for seed in range(20):
        stream = stream_of(data, test=0.3, seed=seed)
        for t, (x, y) in enumerate(data):
            (train_x, train_y), (test_x, test_y) = all_of(stream, t, "train"), all_of(stream, t, "test")
            assert len(test_x) == round(0.3 * len(x))
            assert sorted([*train_x[:, 0].tolist(), *test_x[:, 0].tolist()]) == list(range(len(x)))
            assert Counter(train_y) + Counter(test_y) == Counter(map(str, y))
            assert set(train_y) == {str(label) for label in y}
            for inputs, names in ((train_x, train_y), (test_x, test_y)):
                assert names == [str(y[int(i)]) for i in inputs[:, 0]]
    assert stream.notes == {"seed": 19, "held_out_for_test": 0.3}
    default = stream_of(data)
    assert [len(t.test) for t in default] == [20, 2]
    a, b = stream_of(data, seed=1), stream_of(data, seed=2)
    assert torch.equal(all_of(a, 0, "test")[0], all_of(stream_of(data, seed=1), 0, "test")[0])
    assert not torch.equal(all_of(a, 0, "test")[0], all_of(b, 0, "test")[0])


def test_nothing_to_hold_out_is_said() -> None:
    with pytest.raises(DataError, match="task 'task 1' has no test examples"):
        stream_of([pair([0, 1, 2])])


# --- data sets --------------------------------------------------------------------------------------------------------
class Items(Dataset[Any]):
    """Items of any form; how often one was read."""

    def __init__(self, items: list[Any], **more: Any) -> None:
        self.items = items
        self.read = 0
        for name, value in more.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        return self.items[index]


class Table(Items):
    """As Hugging Face's: rows by number, columns by name."""

    @property
    def column_names(self) -> list[str]:
        return list(self.items[0])

    def __getitem__(self, index: Any) -> Any:
        return [item[index] for item in self.items] if isinstance(index, str) else super().__getitem__(index)


X, Y = pair([2, 0, 1, 0, 2, 1])


def check(stream: Stream, x: Tensor = X, y: list[Any] = Y) -> None:
    inputs, names = all_of(stream, 0, "train")
    assert torch.equal(inputs, x)
    assert names == [str(label) for label in y]


@pytest.mark.parametrize("in_memory", [None, True, False])
@pytest.mark.parametrize(
    "dataset",
    [
        Items([(X[i], Y[i]) for i in range(6)]),
        Items([[X[i].numpy(), torch.tensor(Y[i])] for i in range(6)]),
        Items([(X[i], Y[i]) for i in range(6)], targets=Y),
        Items([(X[i], Y[i]) for i in range(6)], labels=torch.tensor(Y)),
        Items([(X[i], Y[i]) for i in range(6)], targets=[9] * 6, target_transform=abs),
        Items([(X[i], Y[i]) for i in range(6)], labels=lambda: None),
        Items([{"x": X[i], "label": Y[i]} for i in range(6)]),
        Items([{"image": X[i], "target": np.int64(Y[i])} for i in range(6)]),
        Table([{"image": X[i], "label": Y[i]} for i in range(6)]),
        [(X[i], Y[i]) for i in range(6)],
    ],
)
def test_data_sets_of_every_form(dataset: Any, in_memory: bool | None) -> None:
    stream = stream_of([dataset], test=[dataset], in_memory=in_memory)
    check(stream)
    assert isinstance(stream[0].train, Lazy if in_memory is False else Tensors)
    picked = Subset(dataset, [4, 1, 3, 2])
    check(stream_of([picked], test=[picked], in_memory=in_memory), X[[4, 1, 3, 2]], [2, 0, 0, 1])


def test_tensor_data_sets_are_taken_as_their_tensors() -> None:
    dataset = TensorDataset(X, torch.tensor(Y))
    stream = stream_of([dataset], test=[dataset])
    check(stream)
    assert isinstance(stream[0].train, Tensors)
    assert stream[0].train.x.data_ptr() == X.data_ptr()


def test_keys_may_be_named() -> None:
    rows = Items([{"label": 9, "picture": X[i], "kind": Y[i]} for i in range(6)])
    check(stream_of([rows], test=[rows], x="picture", y="kind"))
    triples = Items([("skip", X[i], Y[i]) for i in range(6)], targets=[9] * 6)
    check(stream_of([triples], test=[triples], x=1, y=2))
    with pytest.raises(DataError, match=r"task 1: none of image.* among label, picture, kind: .* with x="):
        stream_of([rows])
    with pytest.raises(DataError, match=r"task 1: no 'class' among label, picture, kind: .* with y="):
        stream_of([rows], x="picture", y="class")


def test_labels_held_apart_are_not_read_item_by_item() -> None:
    big = Items([(X[0], 0)] * 1000, targets=[0] * 1000)
    stream_of([big], in_memory=False)
    assert big.read < 20


def test_what_is_larger_than_a_gigabyte_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.streams.own.IN_MEMORY", 6 * 3 * 4 - 1)
    dataset = Items([(X[i], Y[i]) for i in range(6)])
    assert isinstance(stream_of([dataset])[0].train, Lazy)
    monkeypatch.setattr("lifelong.streams.own.IN_MEMORY", 6 * 3 * 4)
    assert isinstance(stream_of([dataset])[0].train, Tensors)


def test_lazy_equals_kept_with_a_fraction_held_out() -> None:
    dataset = Items([(X[i], Y[i]) for i in range(6)])
    kept, lazy = (stream_of([dataset], test=0.4, in_memory=m, workers=0) for m in (True, False))
    for part in ("train", "test"):
        one, other = all_of(kept, 0, part), all_of(lazy, 0, part)
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]
    assert [len(kept[0].train), len(kept[0].test)] == [4, 2]


def picture(mode: str, size: tuple[int, int] = (5, 4), seed: int = 0) -> Any:
    """An image of Pillow's, `size` (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "I", "F"])
def test_images_of_pillow(mode: str) -> None:
    pictures = [picture(mode, seed=i) for i in range(4)]
    dataset = Items([{"image": p, "label": i % 2} for i, p in enumerate(pictures)])
    grey = mode in ("L", "1", "LA", "I", "F")
    for in_memory in (True, False):
        inputs, _ = all_of(stream_of([dataset], test=[dataset], in_memory=in_memory), 0, "train")
        assert inputs.shape == ((4, 4, 5) if grey else (4, 3, 4, 5))
        for own, p in zip(inputs, pictures):
            if mode in ("I", "F"):  # not bytes: as they are
                assert np.array_equal(own.numpy(), np.asarray(p))
            else:
                pixels = np.asarray(p.convert("L" if grey else "RGB"), np.float32) / 255
                assert np.array_equal(own.numpy(), pixels if grey else pixels.transpose(2, 0, 1))


# --- the scenario "domain" --------------------------------------------------------------------------------------------
def test_domain_tasks_share_their_classes() -> None:
    data = [pair(["a", "b"] * 5), pair(["b", "a"] * 5, seed=1)]
    stream = stream_of(data, "domain")
    assert [t.classes for t in stream] == [(0, 1), (0, 1)]
    assert stream.outputs == 2
    with pytest.raises(DataError, match="task 'task 2' has no example of 'b', and in the scenario 'domain'"):
        stream_of([data[0], pair(["a"] * 10)], "domain")
    with pytest.raises(DataError, match="task 'task 1' has no example of 'c'"):
        stream_of([data[0], pair(["a", "b", "c"] * 4)], "domain")


# --- what is refused --------------------------------------------------------------------------------------------------
class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


GOOD = pair([0, 1] * 5)
NAN = float("nan")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "got an empty one"),
        (GOOD, r"got bare arrays: a single task is \[\(x, y\)\] or \[dataset\]"),
        (torch.zeros(3), "got Tensor"),
        (TensorDataset(torch.zeros(3)), "got TensorDataset"),
        ({"a": GOOD}, "got dict"),
        (pd.DataFrame({"a": [1]}), "got a frame: use from_frame"),
        ([GOOD, 3], "task 2: expected a pair .* got int"),
        ([([1, 2], [3, 4])], "task 1: expected a pair .* got tuple"),
        ([(GOOD[0], [0, 1], [2])], "task 1: expected a pair .* got tuple"),
        ([Endless()], "map-style data set .* got Endless"),
        ([Items([])], "task 1: the data set is empty"),
        ([Items([3, 4])], "task 1: items are of type int"),
        ([(GOOD[0], [0, 1])], "task 1: 10 inputs and 2 labels"),
        ([(GOOD[0], torch.eye(2).repeat(5, 1))], r"labels have shape \[10, 2\].*argmax"),
        ([(GOOD[0], torch.zeros(10))], r"label 0\.0 \(example 0\) is neither"),
        ([(GOOD[0], [0] * 8 + [None, 1])], r"label None \(example 8\) is neither"),
        ([(GOOD[0], ["a"] * 9 + [NAN])], r"label nan \(example 9\) is neither"),
        ([(GOOD[0], ["a"] * 9 + [1])], "some labels are numbers and others strings"),
        ([(GOOD[0], np.array(["2026-01-01"] * 10, "datetime64[D]"))], "neither a whole number nor a string"),
        ([GOOD, (GOOD[0], ["a", "b"] * 5)], "some tasks' labels are numbers and others' strings"),
        ([(np.array(["a"] * 10), GOOD[1])], "task 1: inputs are ndarray of <U1, expected numbers"),
        ([Items([("text", 0), ("more", 1)])], "task 1: inputs are str"),
        ([Items([(X[0], 0), (X[0, :2], 1)])], r"task 1: item 1 has shape \[2\], item 0 \[3\]"),
        ([GOOD, (torch.zeros(10, 4), GOOD[1])], r"task 'task 2' has inputs of shape \[4\]"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        stream_of(data)


def test_what_does_not_fit_together_is_refused() -> None:
    for test in (0.0, 1.0, 2, -0.1, NAN):
        with pytest.raises(DataError, match="expected a fraction between 0 and 1"):
            stream_of([GOOD], test=test)
    with pytest.raises(DataError, match="1 test sets for 2 tasks"):
        stream_of([GOOD, GOOD], test=[GOOD])
    with pytest.raises(DataError, match="task 'task 1' is tested on 5, which none of its training examples is"):
        stream_of([GOOD], test=[pair([0, 5])])
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="expected 2 different ones"):
            stream_of([GOOD, GOOD], names=names)
    with pytest.raises(DataError, match="scenario 'classes'"):
        stream_of([GOOD], "classes")  # type: ignore[arg-type]


# --- data frames ------------------------------------------------------------------------------------------------------
def frame() -> Any:
    n = 12
    return pd.DataFrame(
        {
            "month": ["June", "May", "July"] * 4,
            "a": np.arange(n),
            "kind": (["up"] * 3 + ["down"] * 3) * 2,
            "b": np.arange(n) * 0.5,
            "c": np.arange(n) % 2 == 0,
        }
    )


def test_a_frame_row_by_row() -> None:
    rows = frame()
    stream = from_frame(rows, task="month", label="kind", scenario="domain", test=rows)
    assert [t.name for t in stream] == ["June", "May", "July"]
    assert stream.class_names == ("up", "down")
    assert stream.source == "a frame of 12 rows"
    for t, task in enumerate(stream):
        for part in ("train", "test"):
            inputs, names = all_of(stream, t, part)
            own = rows[rows["month"] == task.name]
            assert inputs.dtype == torch.float32
            assert inputs.tolist() == own[["a", "b", "c"]].astype(float).to_numpy().tolist()
            assert names == own["kind"].tolist()


def test_frames_with_columns_chosen_and_a_fraction_held_out() -> None:
    rows = frame()
    rows["month"] = rows["month"].map({"May": 5, "June": 6, "July": 7})
    rows["kind"] = rows["kind"].astype("category")
    stream = from_frame(rows, "month", "kind", ["b"], test=0.5, seed=1)
    assert [t.name for t in stream] == ["6", "5", "7"]
    assert stream.shape == (1,)
    for t, task in enumerate(stream):
        both = torch.cat([all_of(stream, t, part)[0] for part in ("train", "test")]).flatten()
        assert sorted(both.tolist()) == rows[rows["month"] == int(task.name)]["b"].tolist()
        assert len(task.test) == 2
    assert stream.notes == {"seed": 1, "held_out_for_test": 0.5, "columns": ["b"]}


def test_frames_that_make_no_stream_are_refused() -> None:
    rows = frame()
    rows["word"] = "w"

    def made(rows: Any = rows, task: str = "month", label: str = "kind", **more: Any) -> Stream:
        return from_frame(rows, task, label, **{"features": ["a"], **more})

    with pytest.raises(DataError, match="no column 'year'; there are: month, a, kind, b, c, word"):
        made(task="year")
    with pytest.raises(DataError, match="no column 'z'"):
        made(features=["a", "z"])
    with pytest.raises(DataError, match=r"column 'word' holds .*, expected numbers"):
        made(features=None)
    with pytest.raises(DataError, match="no column is left"):
        made(features=[])
    with pytest.raises(DataError, match="no rows"):
        made(rows.iloc[:0])
    with pytest.raises(DataError, match="task 'July' is in one of the two frames only"):
        made(test=rows[rows["month"] != "July"])
    with pytest.raises(DataError, match=r"column 'b': label 0\.0"):
        made(task="b")
    missing = rows.copy()
    missing["kind"] = missing["kind"].astype(object)
    missing.loc[3, "kind"] = None
    with pytest.raises(DataError, match=r"column 'kind' is empty in row 4 of 12"):
        made(missing)


# --- folders ----------------------------------------------------------------------------------------------------------
def save(root: Path, mode: str = "RGB", size: tuple[int, int] = (5, 4), ending: str = "png") -> dict[str, Any]:
    """Tasks 2 and 10, two classes each, five images a class; gives the images by path."""
    found = {}
    for task in ("task 10", "task 2"):
        for kind in ("dog", "cat"):
            folder = root / task / kind
            folder.mkdir(parents=True)
            for i in range(5):
                image = picture(mode, size, seed=len(found))
                image.save(folder / f"{i}.{ending}")
                found[f"{task}/{kind}/{i}"] = image
    return found


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_folder_of_images(mode: str, tmp_path: Path) -> None:
    images = save(tmp_path, mode)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "task 2" / "cat" / ".notes.txt").write_text("no image")
    stream = from_folder(tmp_path, scenario="domain", seed=3)
    assert [t.name for t in stream] == ["task 2", "task 10"]
    assert stream.class_names == ("cat", "dog")
    assert stream.source == str(tmp_path)
    assert stream.shape == ((3, 4, 5) if mode == "RGB" else (4, 5))
    assert stream.notes["size"] == [4, 5]
    for t, task in enumerate(stream):
        assert (len(task.train), len(task.test)) == (8, 2)
        found = Counter()
        for part in ("train", "test"):
            for own, kind in zip(*all_of(stream, t, part)):
                pixels = own if mode == "L" else own.permute(1, 2, 0)
                found[kind, (pixels * 255).round().to(torch.uint8).numpy().tobytes()] += 1
        expected = Counter()
        for name, image in images.items():
            if name.startswith(f"{task.name}/"):
                expected[name.split("/")[1], np.asarray(image).tobytes()] += 1
        assert found == expected


def test_a_folder_with_test_images_of_its_own(tmp_path: Path) -> None:
    save(tmp_path / "train")
    save(tmp_path / "test", ending="JPG")
    stream = from_folder(str(tmp_path), size=(6, 7))
    assert [(len(t.train), len(t.test)) for t in stream] == [(10, 10), (10, 10)]
    assert stream.shape == (3, 6, 7)
    assert stream.scenario == "class"
    image = Image.open(tmp_path / "train" / "task 2" / "cat" / "0.png").resize((7, 6), Image.Resampling.BILINEAR)
    assert np.array_equal(all_of(stream, 0, "train")[0][0].permute(1, 2, 0).numpy() * 255, np.asarray(image))
    (tmp_path / "test" / "task 10").rename(tmp_path / "test" / "task 11")
    with pytest.raises(DataError, match="task 'task 10' is in only one of train/ and test/"):
        from_folder(tmp_path)


def test_grey_and_coloured_images_together_are_coloured(tmp_path: Path) -> None:
    save(tmp_path)
    picture("L", seed=99).save(tmp_path / "task 2" / "cat" / "grey.png")
    assert from_folder(tmp_path).shape == (3, 4, 5)


def test_folders_that_make_no_stream_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no images in .*, and no folders: expected task/class/image"):
        from_folder(tmp_path)
    (tmp_path / "task").mkdir()
    with pytest.raises(DataError, match=r"no images in .*task, and no folders: expected task/class/image"):
        from_folder(tmp_path)
    (tmp_path / "task").rmdir()
    save(tmp_path)
    with pytest.raises(DataError, match=r"size \(0, 5\)"):
        from_folder(tmp_path, size=(0, 5))
    odd = tmp_path / "task 2" / "cat" / "odd.png"
    picture("RGB", (9, 9)).save(odd)
    with pytest.raises(DataError, match=r"images differ in size: .*odd\.png has \[9, 9\].*size=\(32, 32\)"):
        from_folder(tmp_path)
    odd.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"odd\.png is not an image"):
        from_folder(tmp_path)
    whole = (tmp_path / "task 2" / "cat" / "0.png").read_bytes()
    odd.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"odd\.png is not an image"):
        from_folder(tmp_path)
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(odd)
    with pytest.raises(DataError, match=r"odd\.png has more than 8 bits"):
        from_folder(tmp_path)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    real = builtins.__import__

    def no_pillow(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_pillow)
    with pytest.raises(DataError, match=r"pip install 'lifelong\[images\]'"):
        from_folder(tmp_path)
