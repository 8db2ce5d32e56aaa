"""A run's predictor as a folder that can be shipped: safetensors, or a program, with a model card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final, get_args

import torch
from torch import Tensor

from ..core.errors import MethodError, RunError
from ..core.files import instead
from ..core.stream import Stream
from ..runs.load_run import load_run
from ..runs.spec import NOTHING, Permission
from .about import About, Form
from .card import card
from .export_io import about_json, load, read_about, tensor_files
from .predictor import Predictor
from .programs import FILES, program, running

__all__ = ["Exported", "export", "reader"]

EACH = 32  # test examples of a task that an export is checked on


@final
@dataclass(frozen=True)
class Exported:
    """Where the export is, and how far its scores are from those of the run, on how many test inputs."""

    folder: Path
    form: Form
    difference: float  # the largest, relative to max(1, |score|)
    inputs: int
    files: dict[str, int]  # bytes


def export(
    run: Path | str,
    out: Path | str,
    to: Form = "safetensors",
    method: str | None = None,
    seed: int | None = None,
    tolerance: float = 1e-4,
    permission: Permission = NOTHING,
) -> Exported:
    """Exports what a run's newest checkpoint predicts with, reads the export back, and holds it to the run on test inputs of each task.

    Args:
        run: a run's directory.
        out: the folder to make.
        to: safetensors (nothing in it is ever run), torch (a `torch.export` program) or onnx.
        method, seed: of which job; default the run's first.
        tolerance: how far a program's scores may be from the run's, relative to ``max(1, |score|)``. Safetensors must be equal bit for bit.
        permission: whether code that the run names may be loaded, and names for what has none in it.

    Raises:
        RunError: the folder is there already; nothing is learnt yet; the export does not answer as the run.
        MethodError: no such method or seed; what cannot be a program, and why.
    """
    run, out = Path(run), Path(out)
    if to not in get_args(Form):
        raise MethodError(f"cannot export to {to!r}: expected one of {', '.join(get_args(Form))}")
    if out.exists():
        raise RunError(f"{out} is there already: choose another --out")
    found = load_run(run, method, seed, permission)
    predictor = Predictor.of(found)
    about = replace(predictor.about, form=to)
    files, state = tensor_files(predictor)
    if to != "safetensors":
        x = next(found.stream[0].test.all(2)).x
        files, state = {FILES[to]: program(predictor, to, torch.cat([x, x])[:2])}, {}
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        for name, content in files.items():
            (beside / name).write_bytes(content)
        (beside / "about.json").write_text(about_json(about, state, files), encoding="utf-8")
        about, scores = reader(beside, trust=True, allow_code=True)
        worst, inputs = _difference(found.learner.scores, scores, found.stream, about)
        most = 0.0 if to == "safetensors" else tolerance
        if not worst <= most:
            raise RunError(
                f"exported as {to}, the scores of {inputs} test inputs differ by up to {worst:.2e} from the run's, more than {most:g}: nothing "
                "was exported"
            )
        sizes = {name: len(content) for name, content in files.items()}
        done = Exported(out, to, worst, inputs, sizes)
        (beside / "README.md").write_text(card(found, about, sizes, worst, inputs), encoding="utf-8")
        os.rename(beside, out)
    except OSError as error:
        raise RunError(
            f"cannot write {out}: {error.strerror or error}; {instead(error, 'say the same again, or choose another --out')}"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


def reader(
    folder: Path, trust: bool = False, allow_code: bool = False
) -> tuple[About, Callable[[Tensor, int | None], Tensor]]:
    """What an export answers with. A program is run only where `trust` says that its maker is trusted, and
    code that it names is loaded only with `allow_code`.

    Raises:
        RunError: it is no export, or damaged; a program that nobody said to trust.
    """
    about, files, _ = read_about(folder)
    if about.form == "safetensors":
        return about, load(folder, allow_code).scores
    if not trust:
        raise RunError(
            f"{folder} holds a program ({about.form}), and reading one may run what its maker wrote: say --trust if you trust them; an export "
            "to safetensors never runs anything"
        )
    return about, running(about, files.read(FILES[about.form]))


def _difference(of_run: Any, exported: Any, stream: Stream, about: About) -> tuple[float, int]:
    """The largest difference of scores, relative to max(1, |score|); infinite where other outputs compete."""
    worst, inputs = 0.0, 0
    for k, task in enumerate(stream.tasks[: len(about.tasks)]):
        x = next(task.test.all(EACH)).x
        for part in (x, x[:1]):  # and a batch of one
            a, b = of_run(part, task).double(), exported(part, k if about.needs_task else None).double()
            inputs += len(part)
            if a.shape != b.shape or not torch.equal(a.isneginf(), b.isneginf()):
                return float("inf"), inputs
            gap = (a - b).abs() / a.abs().clamp(min=1)
            worst = max(worst, float(gap.masked_fill(a.isneginf(), 0.0).nan_to_num(nan=float("inf")).max()))
    return worst, inputs
