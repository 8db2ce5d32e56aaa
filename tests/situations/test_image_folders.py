"""Folders of photos as people have them, learnt from and answered for."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifelong.cli import main
from lifelong.core.errors import DataError, LifelongWarning
from lifelong.core.stream import Stream
from lifelong.release.about import About, Learnt, Part
from lifelong.release.inputs import read_inputs
from lifelong.streams import from_folder, stream_of

Image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install -e '.[test]'")


def photo(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), seed: int = 0, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **how)
    return path


def pets(root: Path, tasks: tuple[str, ...] = ("home", "street"), kinds: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Three photos of each kind in each task."""
    for t, task in enumerate(tasks):
        for k, kind in enumerate(kinds):
            for i in range(3):
                photo(root / task / kind / f"{i}.png", seed=100 * t + 10 * k + i)
    return root


def count(stream: Stream) -> dict[str, dict[str, int]]:
    """Examples by task and class, tested ones included."""
    found: dict[str, dict[str, int]] = {}
    for task in stream:
        labels = torch.cat([task.train.labels, task.test.labels]).tolist()
        found[task.name] = {stream.class_names[c]: labels.count(c) for c in sorted(set(labels))}
    return found


def test_photos_in_the_formats_that_cameras_and_the_web_have(tmp_path: Path) -> None:
    endings = {"cat": ("png", "PNG", "jpg", "JPEG", "jfif"), "dog": ("webp", "bmp", "tif", "TIFF", "ppm")}
    for task in ("home", "street"):
        for kind, every in endings.items():
            for i, ending in enumerate(every):
                photo(tmp_path / task / kind / f"{i}.{ending}", seed=i)
    stream = from_folder(tmp_path, scenario="domain")
    assert count(stream) == {"home": {"cat": 5, "dog": 5}, "street": {"cat": 5, "dog": 5}}
    assert "remarks" not in stream.notes


def test_photos_in_folders_within_a_class(tmp_path: Path) -> None:
    pets(tmp_path)
    photo(tmp_path / "home" / "cat" / "2024" / "May" / "a.png")
    with pytest.warns(
        LifelongWarning, match=r"1 images lie in folders within a class's folder .*home/cat/2024/May/a.png"
    ):
        stream = from_folder(tmp_path)
    assert count(stream)["home"] == {"cat": 4, "dog": 3}
    assert "within a class's folder" in stream.notes["remarks"][0]


def test_notes_and_videos_lie_between_the_photos(tmp_path: Path) -> None:
    pets(tmp_path)
    for name in (
        "home/cat/clip.mp4",
        "home/cat/b.mp4",
        "street/dog/notes.txt",
        "labels.csv",
        "street/README",
        "home/dog/f.h5",
    ):
        (tmp_path / name).write_text("no image")
    (tmp_path / "home" / ".DS_Store").write_text("hidden")
    with pytest.warns(LifelongWarning) as caught:
        stream = from_folder(tmp_path)
    [remark] = stream.notes["remarks"]
    assert [str(w.message) for w in caught] == [remark]
    assert caught[0].filename == __file__  # where the user called
    assert remark.startswith(f"{tmp_path.name}: 6 files are left out, as Pillow opens no such files: 2 .mp4, ")
    assert all(said in remark for said in ("1 .txt", "1 .csv", "1 .h5", "1 without an ending", "the first: labels.csv"))
    assert str(tmp_path.parent) not in remark


def test_a_class_of_which_no_photo_can_be_read(tmp_path: Path) -> None:
    pets(tmp_path)
    for file in (tmp_path / "street" / "dog").iterdir():
        file.rename(file.with_suffix(".raw"))
    with pytest.raises(DataError, match=r"no images in .*street/dog, only 3 \.raw: give the class"):
        from_folder(tmp_path)
    for file in (tmp_path / "street" / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no images in .*street/dog: give the class"):
        from_folder(tmp_path)


def test_a_class_that_one_task_lacks(tmp_path: Path) -> None:
    pets(pets(tmp_path), tasks=("yard",), kinds=("cat",))
    stream = from_folder(tmp_path)
    assert stream.notes["remarks"] == ["tasks share classes, and there are no images of 'dog' in task 'yard'"]
    with pytest.raises(DataError, match="task 'yard' has no example of 'dog'"):
        from_folder(tmp_path, scenario="domain")
    apart = pets(pets(tmp_path / "apart", ("one",), ("cat", "dog")), ("two",), ("cow", "pig"))
    assert "remarks" not in from_folder(apart).notes  # other classes in each task are what class-incremental means


def test_classes_without_test_photos(tmp_path: Path) -> None:
    pets(tmp_path / "train")
    pets(tmp_path / "test", kinds=("cat",))
    with pytest.warns(LifelongWarning, match="no test images of 'dog' of task 'home', 'dog' of task 'street': how"):
        from_folder(tmp_path)


def test_photos_that_lie_in_no_class(tmp_path: Path) -> None:
    pets(tmp_path)
    for stray in ("overview.jpg", "home/all.jpg"):
        image = photo(tmp_path / stray)
        with pytest.raises(DataError, match=rf"{stray} lies outside|holds images \({stray}\)"):
            from_folder(tmp_path)
        image.unlink()
    from_folder(tmp_path)


def test_classes_without_tasks_as_torchvision_has_them(tmp_path: Path) -> None:
    kinds = ("ant", "bee", "cat", "dog", "eel")
    for part in ("train", "test"):
        pets(tmp_path / part, tasks=("",), kinds=kinds)
    for root in (tmp_path / "train", tmp_path):
        with pytest.raises(DataError, match=r"ant holds images \(0.png\) and no folders for classes.*tasks=1 or more"):
            from_folder(root)
    stream = from_folder(tmp_path, tasks=2)
    assert [task.name for task in stream] == ["ant/bee/cat", "dog/eel"]  # as `split` divides
    assert (stream.class_names, stream[1].classes) == (kinds, (3, 4))
    assert [(len(t.train), len(t.test)) for t in stream] == [(9, 9), (6, 6)]
    assert len(from_folder(tmp_path / "train", tasks=1)) == 1
    for tasks, said in ((6, "6 tasks of 5 classes"), (0, "at least 1")):
        with pytest.raises(DataError, match=said):
            from_folder(tmp_path, tasks=tasks)
    photo(tmp_path / "test" / "fox" / "0.png")
    with pytest.raises(DataError, match="test/ has the class 'fox', and train/ has not"):
        from_folder(tmp_path, tasks=2)


def test_a_folder_one_level_too_high_or_with_a_part_missing(tmp_path: Path) -> None:
    pets(tmp_path / "data" / "train")
    with pytest.raises(DataError, match=r"holds train/: expected train/ and test/"):
        from_folder(tmp_path / "data")
    for task in ("one", "two"):  # as Tiny ImageNet has it: class/images/*.png
        photo(tmp_path / "tiny" / task / "images" / "0.png")
    with pytest.raises(DataError, match="all images are of one class, 'images'"):
        from_folder(tmp_path / "tiny")
    pets(tmp_path / "data" / "test")
    pets(tmp_path / "data" / "more")
    with pytest.warns(LifelongWarning, match="more/ beside train/ and test/ is left out"):
        from_folder(tmp_path / "data")
    pets(tmp_path / "data" / "val")
    with pytest.warns(LifelongWarning, match="more/, val/ beside train/ and test/"):
        from_folder(tmp_path / "data")


def test_an_animation_among_the_photos(tmp_path: Path) -> None:
    pets(tmp_path)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "home" / "cat" / "z.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(LifelongWarning, match="1 image has several frames, of which the first is read .*home/cat/z.gif"):
        stream = from_folder(tmp_path)
    whole = [stream[0].train, stream[0].test]
    x = torch.cat([chunk.x for part in whole for chunk in part.all()])
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    assert int((x == red).all(3).all(2).all(1).sum()) == 1


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK", "L"])
def test_photos_of_another_mode_among_those_of_three_colours(mode: str, tmp_path: Path) -> None:
    pets(tmp_path)
    odd = photo(tmp_path / "home" / "cat" / f"odd.{'tif' if mode == 'CMYK' else 'png'}", mode, seed=77)
    stream = from_folder(tmp_path)
    assert stream.shape == (3, 8, 8)
    truth = torch.from_numpy(np.array(Image.open(odd).convert("RGB"))).permute(2, 0, 1)
    x = torch.cat([chunk.x for part in (stream[0].train, stream[0].test) for chunk in part.all()])
    assert int(((x * 255).round() == truth).all(3).all(2).all(1).sum()) == 1


def test_photos_through_links(tmp_path: Path) -> None:
    pets(tmp_path / "real")
    for task in ("a", "b"):
        (tmp_path / "linked" / task).mkdir(parents=True)
        for kind in ("cat", "dog"):
            (tmp_path / "linked" / task / kind).symlink_to(tmp_path / "real" / "home" / kind)
    os.symlink(tmp_path / "linked", tmp_path / "real" / "home" / "cat" / "again")  # a circle
    with pytest.warns(LifelongWarning, match="within a class's folder"):
        stream = from_folder(tmp_path / "linked")
    assert count(stream)["a"]["dog"] == 3
    (tmp_path / "real" / "home" / "dog" / "3.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"3\.png is not an image that Pillow can read .*No such file"):
        from_folder(tmp_path / "linked")


def test_the_same_class_written_in_two_ways(tmp_path: Path) -> None:
    pets(pets(tmp_path, ("one",), ("Cat", "dog")), ("two",), ("cat", "dog"))
    with pytest.warns(
        LifelongWarning, match="'Cat', 'cat' differ in capitals, spaces or the like alone, and are 2 classes"
    ):
        stream = from_folder(tmp_path)
    assert stream.class_names == ("Cat", "dog", "cat")
    x = torch.rand(6, 2)
    with pytest.warns(LifelongWarning, match="'up', 'up '"):
        stream_of([(x, ["up", "down"] * 3), (x, ["up ", "down"] * 3)])


def test_a_command_says_what_of_a_folder_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets(tmp_path / "pets")
    (tmp_path / "pets" / "home" / "cat" / "notes.txt").write_text("no image")
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("always", LifelongWarning)
        words = ["run", "--stream", "folder", "--stream.path", str(tmp_path / "pets"), "--scenario", "domain"]
        assert main([*words, "--epochs", "1", "--net.hidden", "4", "--threads", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said.count("1 file is left out") == 1
    assert "lifelong: warning: pets: 1 file is left out" in said
    summary = json.loads((out / "summary.json").read_text())
    assert "1 file is left out" in summary["notes"]["remarks"][0]


def taking_images() -> About:
    """An export that takes images of 8 × 8 pixels in colour."""
    return About(
        form="safetensors",
        scenario="class",
        class_names=("cat", "dog"),
        tasks=(Learnt("home", (0, 1)),),
        seen=(0, 1),
        needs_task=False,
        kind="image",
        shape=(3, 8, 8),
        whole=False,
        resize=False,
        vocabulary=(),
        columns=(),
        net=Part("mlp", {}),
        outputs=2,
        growth=(),
        method=(Part("finetune", {}),),
        answers="",
        precision="float32",
        stream="folder",
        source="",
        versions={},
    )


def test_answers_for_a_folder_of_every_format(tmp_path: Path) -> None:
    about = taking_images()
    for i, ending in enumerate(("png", "jpg", "webp", "bmp", "tif", "GIF", "ppm")):
        photo(tmp_path / ("deep" if i > 3 else ".") / f"{i}.{ending}", seed=i)
    asked = list(read_inputs(about, str(tmp_path)))
    assert sorted(Path(a.id).stem for a in asked) == list("0123456")
    assert len(list(read_inputs(about, str(tmp_path / "3.bmp")))) == 1
    (tmp_path / "list.txt").write_text("no image")
    photo(tmp_path / ".thumbnails" / "0.png")
    with pytest.warns(LifelongWarning, match=r"1 file is left out, as Pillow opens no such files: 1 \.txt"):
        assert len(list(read_inputs(about, str(tmp_path)))) == 7
    (tmp_path / "6.png").write_bytes(b"no image")
    with pytest.warns(LifelongWarning), pytest.raises(DataError, match=r"6\.png is not an image"):
        list(read_inputs(about, str(tmp_path)))


def test_a_command_answers_every_photo_or_says_which_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets(tmp_path / "pets")
    words = ["run", "--stream", "folder", "--stream.path", str(tmp_path / "pets"), "--scenario", "domain"]
    assert main([*words, "--epochs", "1", "--net.hidden", "4", "--threads", "1", "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "shipped")]) == 0
    for i, ending in enumerate(("webp", "bmp", "tif", "gif", "png")):
        photo(tmp_path / "new" / f"{i}.{ending}", seed=i)
    (tmp_path / "new" / "list.csv").write_text("0,cat")
    capsys.readouterr()
    ask = ["predict", str(tmp_path / "shipped"), str(tmp_path / "new")]
    with warnings.catch_warnings():
        warnings.simplefilter("always", LifelongWarning)
        assert main(ask) == 0
        said = capsys.readouterr()
        assert [line.split(",")[0] for line in said.out.splitlines()] == [
            "id",
            "0.webp",
            "1.bmp",
            "2.tif",
            "3.gif",
            "4.png",
        ]
        assert said.err.startswith("lifelong: warning: new: 1 file is left out, as Pillow opens no such files: 1 .csv")
        (tmp_path / "new" / "2.tif").write_bytes(b"no image")
        assert main(ask) == 1
    said = capsys.readouterr()
    assert "2.tif is not an image that Pillow can read" in said.err
    assert not said.out
