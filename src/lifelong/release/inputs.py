"""What is to be answered, read as the predictor takes it: rows of numbers, images, sentences, questions about stories."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError, nearest, warn
from ..streams.folder import below, endings, first_frame, left_out, pillow, unreadable
from ..streams.intents import Bag
from ..streams.own import DEEP
from ..streams.stories import Question, encode, sentence
from .about import About
from .answers import rows_of

__all__ = ["Asked", "answers_csv", "read_inputs"]

ROWS = 256  # answered at once
PIXELS = 50_000_000  # of an image that is resized
OTHERS = ("id", "label", "task")  # columns that are no inputs


@final
@dataclass(frozen=True)
class Asked:
    """One input, what it is called, and what else was said of it."""

    id: str
    x: Tensor
    task: str | None = None
    label: str | None = None


def read_inputs(about: About, source: str, resize: bool = False) -> Iterator[Asked]:
    """The inputs of a file, a folder, or standard input (``-``), one after another. Of a folder, files that Pillow does not open by their
    ending are left out, and a `LifelongWarning` says how many; hidden files are left out without a word.

    Raises:
        DataError: they are not what the predictor takes; the message names file and line.
    """
    path = Path(source)
    if source != "-" and not path.exists():
        raise DataError(f"{source} is not there: expected a file, a folder of images, or - for standard input")
    if source != "-" and (path.is_dir() or _is_image(path)):
        if about.kind != "image":
            raise DataError(f"{source}: this predictor takes {_TAKES[about.kind]}, no images")
        yield from _images(about, path, resize or about.resize)
        return
    text = _text(source)
    if about.kind == "bag":
        yield from _sentences(about, text, source)
    elif about.kind == "story":
        yield from _stories(about, text, source)
    else:
        yield from _numbers(about, text, source)


def _is_image(path: Path) -> bool:
    try:
        return path.suffix.lower() in endings()
    except DataError:  # text is read without Pillow, too
        return path.suffix.lower() in (".png", ".jpg", ".jpeg")


_TAKES = {
    "numbers": "rows of numbers (CSV)",
    "image": "images, or rows of numbers (CSV)",
    "bag": "text, a sentence a line",
    "story": "stories with questions, a sentence a line",
}


def _text(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {source} as text: {error}") from error


def _numbers(about: About, text: str, source: str) -> Iterator[Asked]:
    """A row an input, flat. Where the first line names columns, those called id, label and task are set apart, and inputs of a table are taken
    by name, in whatever order."""
    d = int(np.prod(about.shape))
    others: dict[str, int] = {}
    width = d
    kept: list[int] | None = None
    row = 0
    for line, cells in rows_of(source, text):
        if kept is None:
            names = [c.strip().lower() for c in cells]
            headed = not all(_is_number(c) for c in cells)
            others = {c: names.index(c) for c in OTHERS if c in names} if headed else {}
            if headed and about.columns:
                kept = _named(about.columns, [c.strip() for c in cells], f"{source}, line {line}")
            else:
                kept = [i for i in range(len(cells)) if i not in others.values()]
            width = len(cells)
            if len(kept) != d:
                raise DataError(
                    f"{source}, line {line}: {len(kept)} columns of inputs, expected {d} (one for each of {list(about.shape)}), besides "
                    f"{', '.join(OTHERS)}; this predictor takes {_TAKES[about.kind]}"
                )
            if headed:
                continue
        if len(cells) != width:
            raise DataError(f"{source}, line {line}: {len(cells)} cells, expected {width}")
        try:
            x = torch.tensor([float(cells[i]) for i in kept])
        except ValueError as error:
            raise DataError(f"{source}, line {line}: expected numbers ({error})") from None
        if not bool(x.isfinite().all()):
            raise DataError(f"{source}, line {line}: a number is NaN or infinite: clean the row or leave it out")
        row += 1
        said = {c: cells[i].strip() for c, i in others.items()}
        yield Asked(said.get("id", str(row)), x.view(about.shape), said.get("task"), said.get("label"))


def _named(columns: Sequence[str], names: list[str], where: str) -> list[int]:
    """Where the columns of inputs stand."""
    for column in columns:
        if names.count(column) != 1:
            twice = column in names
            found = f"{names.count(column)} columns" if twice else "no column"
            raise DataError(
                f"{where}: {found} {column!r}{'' if twice else nearest(column, names)}; expected one for each input: {', '.join(columns)}"
            )
    return [names.index(column) for column in columns]


def _images(about: About, path: Path, resize: bool) -> Iterator[Asked]:
    """The image files of a folder and of those in it, in the order of their names; or one file."""
    files, others = ([path], []) if path.is_file() else below(path)
    for remark in left_out(others, path):
        warn(remark)
    if not files:
        raise DataError(f"no images in {path}: expected files that Pillow can open")
    size = about.shape[-2:]
    mode = "L" if len(about.shape) == 2 else "RGB"
    several = []
    for file in sorted(files):
        try:
            with pillow().open(file) as image:  # the header only
                if getattr(image, "is_animated", False):
                    several.append(file)
                if image.mode in DEEP:
                    raise DataError(
                        f"{file} has more than 8 bits a channel (Pillow's mode {image.mode}): convert it to 8"
                    )
                if (image.height, image.width) != size and not resize:
                    raise DataError(
                        f"{file} has {image.height} × {image.width} pixels, the predictor takes {size[0]} × {size[1]}: --resize resizes images"
                    )
                if image.height * image.width > PIXELS:
                    raise DataError(
                        f"{file} has {image.height} × {image.width} pixels, more than {PIXELS}: make it smaller"
                    )
                found = image.convert(mode)
        except (OSError, SyntaxError, pillow().DecompressionBombError, pillow().DecompressionBombWarning) as error:
            raise unreadable(file, error) from error
        if found.size != (size[1], size[0]):
            found = found.resize((size[1], size[0]), pillow().Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(found))
        x = (pixels if mode == "L" else pixels.permute(2, 0, 1)).float().div(255)
        yield Asked(str(file.relative_to(path)) if path.is_dir() else file.name, x)
    for remark in first_frame(several, path if path.is_dir() else path.parent):
        warn(remark)


def _sentences(about: About, text: str, source: str) -> Iterator[Asked]:
    """A sentence a line; words that are not in the vocabulary are passed over, as in training."""
    number = {word: i for i, word in enumerate(about.vocabulary, 1)}
    bag, found = Bag(len(about.vocabulary)), False
    for line, said in enumerate(text.splitlines(), 1):
        words = said.lower().split()
        if not words:
            continue
        found = True
        yield Asked(str(line), bag(torch.tensor([[number.get(w, 0) for w in words]]))[0])
    if not found:
        raise DataError(f"{source} is empty: expected a sentence a line")


def _stories(about: About, text: str, source: str) -> Iterator[Asked]:
    """A sentence a line; one that ends with a question mark is a question about those before it. An empty line, or the number 1 before a
    sentence, begins a new story."""
    numbers = {word: i for i, word in enumerate(about.class_names, 1)}
    memory = about.shape[0] - 1
    story: list[tuple[str, ...]] = []
    found = False
    for line, said in enumerate(text.splitlines(), 1):
        first, _, rest = said.strip().partition(" ")
        if not said.strip() or first == "1":
            story = []
        body = (rest if first.isdecimal() else said).partition("\t")[0].strip()
        words = sentence(body)
        if not words:
            continue
        if not body.endswith("?"):
            story.append(words)
            continue
        if not story:
            raise DataError(f"{source}, line {line}: a question without a sentence before it")
        found = True
        width = max(about.shape[1], *(len(s) for s in (*story, words)))
        try:
            x = encode([Question(tuple(story), words, "", ())], numbers, memory, width)[0]
        except DataError as error:
            raise DataError(f"{source}, line {line}: {error}") from error
        if width > about.shape[1]:
            raise DataError(f"{source}, line {line}: a sentence of {width} words, the predictor takes {about.shape[1]}")
        yield Asked(str(line), x)
    if not found:
        raise DataError(
            f"{source} has no question: expected lines of a story and a line that ends with a question mark"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def answers_csv(about: About, scores: Any, asked: Iterable[Asked], task: str | None = None) -> str:
    """Answers as CSV: ``id,answer,probability``, and ``task`` and ``label`` where these were given.

    Args:
        scores: inputs ``[B, ...]`` and the index of their task (or None) to scores ``[B, C]``.
        asked: the inputs.
        task: of those that say none.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head: list[str] | None = None
    for batch in _batches(asked):
        if head is None:
            extra = [c for c in ("task", "label") if getattr(batch[0], c) is not None]
            head = ["id", "answer", "probability", *extra]
            writer.writerow(head)
        said = [a.task if a.task is not None else task for a in batch]
        rows: list[tuple[str, float]] = [("", 0.0)] * len(batch)
        for name in dict.fromkeys(said):
            own = [i for i, s in enumerate(said) if s == name]
            index = about.task(name) if name is not None and about.needs_task else None
            p = scores(torch.stack([batch[i].x for i in own]), index).float().softmax(1)
            best = p.max(1)
            for i, c, value in zip(own, best.indices.tolist(), best.values.tolist()):
                rows[i] = about.class_names[c], value
        for a, (answer, value) in zip(batch, rows):
            writer.writerow([a.id, answer, f"{value:.6f}", *(getattr(a, c) for c in head[3:])])
    if head is None:
        raise DataError("there is nothing to answer: expected at least one input")
    return out.getvalue()


def _batches(asked: Iterable[Asked]) -> Iterator[Sequence[Asked]]:
    batch: list[Asked] = []
    for one in asked:
        batch.append(one)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
