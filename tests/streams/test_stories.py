"""Stories with questions: the format, the published files, and files of one's own."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import DataError
from lifelong.streams import babi, sources, stories
from lifelong.streams.stories import Question, encode, read, sentence, story

TEXT = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 John took the milk, and the ball.
5 What does John carry?\tmilk,ball\t2 4
1 The cat's name is Tom.
2 Who is it?\ttom\t1
"""


def test_reading_keeps_stories_answers_and_what_they_rest_on() -> None:
    first, second, third = read(TEXT)
    mary, john = ("mary", "moved", "to", "the", "bathroom"), ("john", "went", "to", "the", "hallway")
    assert first == Question((mary, john), ("where", "is", "mary"), "bathroom", (0,))
    assert second.story == (mary, john, ("john", "took", "the", "milk", "and", "the", "ball"))
    assert (second.answer, second.supporting) == ("milk,ball", (1, 2))  # line 4 is the third sentence
    assert (third.story, third.answer) == ((("the", "cat's", "name", "is", "tom"),), "tom")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("Mary moved.", 1, "expected a number"),
        ("1 Mary moved.\n3 John went.", 2, "expected the number 2, or 1"),
        ("1 Mary moved.\n2 .", 2, "expected words"),
        ("1 Mary moved.\n2 Where is Mary?\t\t1", 2, "its answer"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\t1\tmore", 2, "its answer"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\t2", 2, "numbers of earlier sentences"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\tone", 2, "numbers of earlier sentences"),
        ("1 Mary moved.\n\n1 Where is Mary?\tattic", 3, "a sentence before the first question"),
    ],
)
def test_a_malformed_line_is_named(text: str, line: int, message: str) -> None:
    with pytest.raises(DataError, match=rf"^story\.txt, line {line}: .*{re.escape(message)}"):
        read(text, "story.txt")


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no question"):
        read("1 Mary moved.")
    with pytest.raises(DataError, match="no folder of bAbI tasks"):
        babi(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no files qaN"):
        babi(str(tmp_path))
    (tmp_path / "qa1_where_train.txt").write_text(TEXT)
    with pytest.raises(DataError, match="qa1_where_test"):
        babi(str(tmp_path))
    with pytest.raises(DataError, match=r"no task 6 .*1, 2, 3, 4, 5"):
        babi(tasks=(1, 6), examples=5, test_examples=5)
    with pytest.raises(DataError, match="at most once"):
        babi(tasks=(1, 1), examples=5, test_examples=5)
    with pytest.raises(DataError, match="memory 0"):
        babi(memory=0)


def test_the_archive_is_fetched_once_and_its_files_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(**files: str) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as tar:
            for name, text in files.items():
                info = tarfile.TarInfo(f"tasks_1-20_v1-2/{name}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        return made.getvalue()

    names = ("qa1_where_train.txt", "qa1_where_test.txt")
    inside = {f"{folder}/{name}": text for folder, text in (("hn", "not this"), ("en", TEXT)) for name in names}
    sums = {f"en/{names[0]}": hashlib.sha256(TEXT.encode()).hexdigest()}
    sums[f"en/{names[1]}"] = hashlib.sha1(f"blob {len(TEXT)}\0{TEXT}".encode()).hexdigest()  # as git has it
    fetched, served = [], [b""]

    def download(url: str, output_file: Any, pooch: Any) -> None:
        fetched.append(url)
        Path(output_file).write_bytes(served[0])

    monkeypatch.delenv("LIFELONG_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: download)
    monkeypatch.setattr(stories, "_sums", lambda source: sums)
    archive = tmp_path / "lifelong" / "babi" / "tasks_1-20_v1-2.tar.gz"
    for content, message in (
        (b"<html>sign in first</html>", "no archive that can be read"),
        (packed(**{**inside, f"en/{names[0]}": TEXT.replace("Mary", "Anna")}), "not the file that was published"),
        (packed(**{f"en/{names[0]}": TEXT}), "lacks en/qa1_where_test.txt"),
    ):
        served[0] = content
        with pytest.raises(DataError, match=message):
            babi("en")
        archive.unlink()
    served[0] = packed(**inside)
    assert len(babi("en")[0].train) == len(babi("en")[0].train) == 3
    assert fetched == [stories.ARCHIVE] * 4

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("down")

    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "empty")
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: refuse)
    with pytest.raises(DataError, match=r"could not be downloaded from https://.*set LIFELONG_DATA"):
        babi("en")


def test_sums_of_the_published_files(real_data: Path) -> None:
    there = 0
    for source in ("en", "en-10k"):
        sums = stories._sums(source)
        assert len(sums) == 40
        for name, value in sums.items():
            path = real_data / "tasks_1-20_v1-2" / name
            if path.exists():
                assert sources._sum(path.read_bytes(), value) == value, name
                there += 1
    assert there >= 40


def test_a_stream_of_ones_own_files(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"qa2_where_{part}.txt").write_text(TEXT)
        (tmp_path / f"qa10_who_{part}.txt").write_text("1 Ann sings.\n2 Who sings?\tAnn\t1\n")
    stream = babi(str(tmp_path), memory=2)
    assert [t.name for t in stream] == ["qa2 where", "qa10 who"]  # 2 before 10
    words = ["", *stream.class_names]
    x, y = stream[0].train.x, stream[0].train.y
    assert x.dtype == torch.int16
    said = [[" ".join(words[w] for w in row if w) for row in question] for question in x.tolist()]
    assert said == [
        ["mary moved to the bathroom", "john went to the hallway", "where is mary"],
        ["john went to the hallway", "john took the milk and the ball", "what does john carry"],
        ["", "the cat's name is tom", "who is it"],
    ]
    assert [stream.class_names[c] for c in y] == ["bathroom", "milk,ball", "tom"]
    assert stream.notes["longer"] == {"qa2 where": [1, 1]}
    assert "2 of 8 stories have more than 2 sentences" in stream.notes["remarks"][0]
    turned = babi(str(tmp_path), tasks=(10, 2))
    assert [t.name for t in turned] == ["qa10 who", "qa2 where"]
    assert turned.class_names[:3] == ("ann", "sings", "who")  # words of later tasks come behind
    assert "longer" not in turned.notes
    assert [stream.class_names[c] for c in babi(str(tmp_path), scenario="task")[1].classes] == ["ann"]


def test_the_published_tasks(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    stream = babi("en", tasks=(8, 1, 19))
    assert [t.name for t in stream] == ["qa8 lists-sets", "qa1 single-supporting-fact", "qa19 path-finding"]
    assert all((len(t.train), len(t.test)) == (1000, 1000) for t in stream)
    words = stream.class_names
    assert {words[c] for c in stream[1].classes} == {"bathroom", "hallway", "kitchen", "garden", "office", "bedroom"}
    assert {words[c] for c in stream[2].classes} == {f"{a},{b}" for a in "nesw" for b in "nesw"} - {
        *("n,s", "s,n", "e,w", "w,e")
    }
    assert stream.notes["longer"] == {"qa8 lists-sets": [0, 2]}
    few = babi("en", tasks=(1,), examples=10, test_examples=7)
    assert (len(few[0].train), len(few[0].test)) == (10, 7)
    path = next(real_data.glob("tasks_1-20_v1-2/en/qa3_*_train.txt"))
    assert all(len(q.supporting) == 3 for q in read(path.read_text()))


def test_stories_as_people_write_them() -> None:
    assert story("1 Ada went.\n2 Where is Ada?\tattic\t1\n\nEmil left!") == (("ada", "went"), ("emil", "left"))
    assert sentence("Where's  the Blue-ish lamp?") == ("where's", "the", "blue-ish", "lamp")
    with pytest.raises(DataError, match=r"did you mean 'ada'"):
        encode([Question((("ada",),), ("adda",), "", ())], {"ada": 1}, 3, 4)
