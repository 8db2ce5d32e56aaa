"""The model card: what a predictor was made of, what it can do, what it costs, and what it cannot, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..core.registry import METHODS
from ..runs.load_run import LoadedRun
from .about import About
from .predictor import without_folders

__all__ = ["card"]


def card(found: LoadedRun, about: About, files: Mapping[str, int], difference: float, inputs: int) -> str:
    """Of an export of `found`; every number is one that the run or the export measured."""
    method, learnt, record = found.job.method, len(about.tasks), found.record
    lines = [f"# {method} on {about.stream}", ""]
    lines += [
        f"A network that learnt {learnt} task{'s' if learnt != 1 else ''} one after another with "
        + " and ".join(_source(p.name) for p in about.method)
        + f", seed {found.job.seed}. Made by lifelong {about.versions.get('lifelong', '')} with torch {about.versions.get('torch', '')}.",
        "",
    ]
    lines += ["## Data", "", f"- stream: {about.stream}; source: {about.source}", f"- scenario: {about.scenario}"]
    lines += [
        f"- input: {_input(about)}",
        f"- classes: {len(about.class_names)}, of which {len(about.seen)} were met",
        "",
    ]
    lines += _table(
        ("task", "training examples", "test examples", "classes"),
        [
            (t.name, str(len(task.train)), str(len(task.test)), _some([about.class_names[c] for c in t.classes]))
            for t, task in zip(about.tasks, found.stream)
        ],
    )
    lines += ["## What it was measured to do", ""]
    lines += [
        f"R: accuracy on each task (columns) after each moment of learning (rows), on test examples. {_seeds(found)}",
        "",
    ]
    names = [t.name for t in found.stream]
    rows = list(zip(("before", *(f"after {n}" for n in names)), record.accuracy))
    lines += _table(("", *names), [(when, *map(_number, row)) for when, row in rows])
    if record.complete:
        measures = record.matrix.summary()
        lines += _table(("measure", "value"), [(k, _number(v)) for k, v in measures.items() if not math.isnan(v)])
    last = record.accuracy[-1][:learnt]
    worst = min(range(learnt), key=lambda k: (math.isnan(last[k]), last[k]))
    lines += [f"Its worst task is {about.tasks[worst].name}: {_number(last[worst])}.", ""]
    lines += ["## Costs", ""]
    lines += _table(
        ("cost", "value"),
        [
            ("parameters needed to predict", f"{record.parameters[-1]:,}"),
            ("bytes kept because of past tasks, while learning", f"{record.memory_bytes[-1]:,}"),
            ("seconds of training", f"{sum(record.train_seconds):.1f}"),
            ("examples forward, backward", f"{sum(record.forward):,}, {sum(record.backward):,}"),
            *((f"bytes of {name}", f"{size:,}") for name, size in list(files.items())[:8]),
            *([(f"bytes of all {len(files)} files", f"{sum(files.values()):,}")] if len(files) > 8 else []),
        ],
    )
    lines += ["## Limits", "", *(f"- {limit}" for limit in _limits(found, about)), ""]
    lines += ["## How it was made", "", "```yaml", without_folders(found.spec.to_yaml().rstrip()), "```", ""]
    lines += ["## How it was checked", ""]
    how = (
        "equal to those of the run, bit for bit"
        if about.form == "safetensors"
        else f"at most {difference:.1e} (relative to max(1, |score|)) from those of the run"
    )
    lines += [f"Read back as {about.form}, its scores for {inputs} test inputs are {how}.", ""]
    lines += ["## Use", "", "```sh", f"lifelong predict DIR {_example(about)}", "```", ""]
    return "\n".join(lines)


def _source(name: str) -> str:
    source = METHODS[name].source if name in METHODS else ""
    return f"{name} ({source})" if source else name


def _input(about: About) -> str:
    shape = " × ".join(map(str, about.shape))
    return {
        "image": f"images [{shape}], bytes divided by 255"
        + ("; other sizes are resized (bilinear)" if about.resize else ""),
        "bag": f"a bag of {len(about.vocabulary)} words: how often each occurs in the sentence, in small letters, split at spaces",
        "story": f"stories of at most {about.shape[0] - 1} sentences and a question, of {len(about.class_names)} known words",
        "numbers": f"numbers [{shape}], as they are: no scaling is part of the predictor",
    }[about.kind]


def _limits(found: LoadedRun, about: About) -> list[str]:
    limits = [
        "It answers with one of the classes that it met, whatever it is shown: there is no answer 'none of these'.",
        "Its probabilities are the softmax of its scores over the outputs that compete. They were not calibrated"
        + (
            f"; the scores of {about.answers} are not those of a classifier trained for probabilities."
            if about.answers
            else "."
        ),
    ]
    if about.needs_task:
        limits.append(
            "It must be told which task an input belongs to; told the wrong one, it answers within that one's classes."
        )
    if len(about.tasks) < len(found.stream):
        limits.append(f"It has learnt {len(about.tasks)} of {len(found.stream)} tasks.")
    if about.stream in ("permuted", "rotated", "two_corpora"):
        limits.append(
            "What a task does to its images (a permutation, a turn, noise) is part of the data, not of the predictor."
        )
    if about.answers in ("nearest_neighbour", "fearnet"):
        limits.append(f"It holds training inputs as they are: {about.answers} answers with them.")
    limits.append("One run with one seed was measured: how much another seed would differ is not known from this card.")
    return limits


def _example(about: About) -> str:
    what = {"image": "photos/", "bag": "sentences.txt", "story": "stories.txt", "numbers": "rows.csv"}[about.kind]
    return what + (" --task 1" if about.needs_task else "") + (" --trust" if about.form != "safetensors" else "")


def _seeds(found: LoadedRun) -> str:
    n = len(found.spec.seeds)
    return f"This is seed {found.job.seed}" + (f" of the run's {n}." if n > 1 else ", the run's only one.")


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    made = [[c.replace("|", "\\|") for c in row] for row in (head, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in made]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:], ""]
