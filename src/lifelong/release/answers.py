"""What a model answered to labelled examples: read from a file, or asked of a run."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from ..core.errors import DataError, RunError, nearest

if TYPE_CHECKING:
    from ..runs.spec import Permission

__all__ = ["Answers", "rows_of"]

ANSWER = ("prediction", "answer")  # either is understood; `lifelong predict` writes the latter


@final
@dataclass(frozen=True)
class Answers:
    """Row by row the label and the answer; which task a row belongs to and what it is called, where that is known.

    `where` says where a row stands, for messages; `inputs` holds a hash of each task's inputs, where they were seen.
    """

    name: str
    label: tuple[str, ...]
    answer: tuple[str, ...]
    task: tuple[str, ...] | None = None
    id: tuple[str, ...] | None = None
    where: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def read(path: Path | str) -> Answers:
        """Of a CSV file with the columns ``label`` and ``prediction`` (or ``answer``), and if it likes ``task`` and ``id``; others are passed
        over.

        Raises:
            DataError: the file cannot be read or is empty; a column or a cell is missing; an id stands twice. The message
                names file and line.
        """
        path = Path(path)
        columns: Sequence[str] = ()
        found: dict[str, list[str]] = {}
        where: list[str] = []
        ids: dict[str, int] = {}
        for line, cells in rows_of(path.name, _text(path)):
            if not columns:
                columns = [c.strip().lower() for c in cells]
                wanted = _columns(path, line, columns)
                found = {name: [] for name in wanted}
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{path}, line {line}: {len(cells)} cells, expected {len(columns)} as in its first line"
                )
            for name, place in wanted.items():
                cell = cells[place].strip()
                if not cell:
                    raise DataError(f"{path}, line {line}: the column {columns[place]!r} is empty")
                found[name].append(cell)
            if "id" in wanted:
                last = found["id"][-1]
                if last in ids:
                    raise DataError(f"{path}, line {line}: the id {last!r} stands in line {ids[last]} already")
                ids[last] = line
            where.append(f"line {line}")
        if not where:
            raise DataError(
                f"{path} is empty: expected a line of columns (label,prediction) and at least one row below"
                if not columns
                else f"{path} has no rows below its first line: expected at least one"
            )
        return Answers(
            str(path),
            tuple(found["label"]),
            tuple(found["answer"]),
            tuple(found["task"]) if "task" in found else None,
            tuple(found["id"]) if "id" in found else None,
            tuple(where),
        )

    @staticmethod
    def of_run(
        folder: Path,
        method: str | None = None,
        seed: int | None = None,
        tasks: Sequence[str] | None = None,
        permission: Permission | None = None,
    ) -> Answers:
        """Of the newest checkpoint of a run, to the test examples of the tasks it has learnt, or of those named.

        Raises:
            RunError: there is no such run, or it stands in the middle of a task; it has no task of that name.
            MethodError: no such method or seed.
        """
        from ..runs.load_run import load_run
        from ..runs.spec import NOTHING

        found = load_run(folder, method, seed, permission or NOTHING)
        learner, stream = found.learner, found.stream
        name = f"{folder} ({found.job.method}, seed {found.job.seed}, {learner.learnt} of {len(stream)} tasks learnt)"
        if learner.at is not None or not learner.learnt:
            raise RunError(f"{name} stands in the middle of a task: let it go on to its end (lifelong resume)")
        known = {task.name: task for task in stream}
        chosen = [t.name for t in stream.tasks[: learner.learnt]] if tasks is None else list(tasks)
        missing = [t for t in chosen if t not in known]
        if missing:
            raise RunError(
                f"{name} has no task {missing[0]!r}{nearest(missing[0], known)}, which the other run has learnt: judge runs of streams "
                "that share their tasks"
            )
        label: list[str] = []
        answer: list[str] = []
        of: list[str] = []
        where: list[str] = []
        inputs = {}
        for task in (known[t] for t in chosen):
            seen = hashlib.sha256()
            for chunk in task.test.all():
                seen.update(chunk.x.contiguous().numpy().tobytes())
                label += [stream.class_names[c] for c in chunk.y.tolist()]
                answer += [stream.class_names[c] for c in learner.predict(chunk.x, task).tolist()]
            inputs[task.name] = seen.hexdigest()
            of += [task.name] * len(task.test)
            where += [f"test example {i} of task {task.name!r}" for i in range(1, len(task.test) + 1)]
        return Answers(name, tuple(label), tuple(answer), tuple(of), None, tuple(where), inputs)

    def __len__(self) -> int:
        return len(self.label)

    def beside(self, old: Answers) -> Answers:
        """These answers in the order of `old`, row by row to the same examples.

        Raises:
            DataError: they are answers to other examples.
        """
        for column in ("task", "id"):
            if (getattr(self, column) is None) != (getattr(old, column) is None):
                has, lacks = (self, old) if getattr(self, column) is not None else (old, self)
                raise DataError(
                    f"{has.name} has a column {column!r}, {lacks.name} has none: give it to both or to neither"
                )
        if self.id is not None and old.id is not None:
            place = {name: i for i, name in enumerate(self.id)}
            ids = set(old.id)
            for here, there, known in ((old, self, place), (self, old, ids)):
                for i, name in enumerate(here.id or ()):
                    if name not in known:
                        raise DataError(f"{here.name}, {here.where[i]}: the id {name!r} is not in {there.name}")
            order = [place[name] for name in old.id]
        else:
            if len(self) != len(old):
                raise DataError(
                    f"{old.name} has {len(old)} rows, {self.name} has {len(self)}: expected answers to the same examples"
                )
            order = list(range(len(old)))
        for task, seen in old.inputs.items():
            if self.inputs.get(task, seen) != seen:
                raise DataError(
                    f"task {task!r}: {self.name} tests it on other inputs than {old.name}; runs of the same stream with the same options "
                    "and seed have the same"
                )
        for i, j in enumerate(order):
            for what, ours, theirs in (("label", self.label, old.label), ("task", self.task, old.task)):
                if ours is not None and theirs is not None and ours[j] != theirs[i]:
                    raise DataError(
                        f"{self.name}, {self.where[j]}: {what} {ours[j]!r}, but {old.name}, {old.where[i]} has {theirs[i]!r}: expected "
                        "answers to the same examples in the same order (or a column 'id')"
                    )

        def ordered(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[j] for j in order)

        return Answers(
            self.name,
            tuple(self.label[j] for j in order),
            tuple(self.answer[j] for j in order),
            ordered(self.task),
            ordered(self.id),
            tuple(self.where[j] for j in order),
            self.inputs,
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _columns(path: Path, line: int, columns: Sequence[str]) -> dict[str, int]:
    """Where what is wanted stands."""
    twice = [c for i, c in enumerate(columns) if c in columns[:i] and c in ("label", "task", "id", *ANSWER)]
    if twice:
        raise DataError(f"{path}, line {line}: the column {twice[0]!r} stands twice")
    known = ", ".join(columns)
    if "label" not in columns:
        raise DataError(f"{path}, line {line}: no column 'label'{nearest('label', columns)}; there are: {known}")
    answers = [c for c in ANSWER if c in columns]
    if len(answers) != 1:
        why = "both columns 'prediction' and 'answer'" if answers else "no column 'prediction' (or 'answer')"
        raise DataError(f"{path}, line {line}: {why}; there are: {known}")
    wanted = {"label": columns.index("label"), "answer": columns.index(answers[0])}
    return wanted | {c: columns.index(c) for c in ("task", "id") if c in columns}


def rows_of(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV text that are not empty, with the line in which each ends.

    Raises:
        DataError: it is none.
    """
    reader = csv.reader(io.StringIO(text), strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{name}, line {reader.line_num}: no CSV ({error})") from error
        if cells is None:
            return
        if any(c.strip() for c in cells):
            yield reader.line_num, cells
