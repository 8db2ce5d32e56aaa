"""A predictor as a program: `torch.export`, or ONNX; both are held to the predictor that they were made of.

A program decides what is run. To read a ``.pt2`` file torch may unpickle, which runs whatever its maker wrote; ONNX is a graph of known
operators, but still somebody's program for a parser in C++. So nothing here reads one that was not made or trusted by whoever asks.
"""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..core.errors import MethodError, RunError
from ..runs.spec import precision_of
from .about import About, Form
from .predictor import Predictor

__all__ = ["FILES", "program", "running"]

FILES: dict[Form, str] = {"torch": "model.pt2", "onnx": "model.onnx"}

Scores = Callable[[Tensor, int | None], Tensor]


def program(predictor: Predictor, form: Form, x: Tensor) -> bytes:
    """The predictor as a program for batches of any size: ``x [B, ...]`` (and ``task [B]``, ``int64``, where it is needed) to ``scores [B, C]``.

    Args:
        x: at least two inputs, as examples.

    Raises:
        MethodError: the network or the method cannot be followed, and why; the packages for ONNX are not installed.
    """
    if form == "onnx":
        _onnx_packages()
        if predictor.about.precision == "bfloat16":
            raise MethodError(
                "bfloat16 cannot be exported as onnx: numpy, which hands onnxruntime its inputs, has no such numbers"
            )
    x = predictor.as_input(x)
    given = (x, torch.zeros(len(x), dtype=torch.int64)) if predictor.about.needs_task else (x,)
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in given)
    try:
        with _quiet():
            # with gradients on, what leaves out empty rows to be fast keeps them: how many there are is data
            with torch.enable_grad():
                exported = torch.export.export(predictor, given, dynamic_shapes=shapes)
            return _saved(exported, form)
    except Exception as error:  # torch says in many ways what it cannot follow
        what = predictor.about.answers or predictor.about.net.name
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = [line.strip() for line in str(cause).splitlines() if line.strip()]
        why = f"{type(cause).__name__}: {' '.join(said)[:400]}"
        raise MethodError(
            f"{what} cannot be exported as {form}: torch cannot follow or translate what it computes ({why}); "
            "export it as safetensors"
        ) from error


def _saved(exported: Any, form: Form) -> bytes:
    out = io.BytesIO()
    if form == "torch":
        torch.export.save(exported, out)
        return out.getvalue()
    names = ["x", "task"][: len(exported.graph_signature.user_inputs)]
    made = torch.onnx.export(
        exported, input_names=names, output_names=["scores"], dynamo=True, external_data=False, verbose=False
    )
    assert made is not None
    content: bytes = made.model_proto.SerializeToString()
    return content


def running(about: About, content: bytes) -> Scores:
    """What runs a program: inputs ``[B, ...]`` and the index of their task to scores ``[B, C]``.

    Raises:
        RunError: it is no program, or holds what a plain one does not.
        MethodError: the packages for ONNX are not installed.
    """
    run = _torch_program(content) if about.form == "torch" else _onnx_program(content)

    def scores(x: Tensor, task: int | None) -> Tensor:
        x = x.to(precision_of(about.precision)) if x.is_floating_point() else x
        if not about.needs_task:
            return run((x,))
        if task is None:
            raise MethodError("this predictor needs the task of its inputs: --task, or a column 'task'")
        return run((x, torch.full((len(x),), task, dtype=torch.int64)))

    return scores


def _torch_program(content: bytes) -> Callable[[tuple[Tensor, ...]], Tensor]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                parts = entry.filename.replace("\\", "/").split("/")
                if entry.filename.startswith("/") or ".." in parts or ":" in parts[0]:
                    raise RunError(
                        f"model.pt2 has an entry {entry.filename[:80]!r}, which points outside of it: it is not opened"
                    )
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content):
                    raise RunError(
                        f"model.pt2 has an entry {entry.filename[:80]!r} that unpacks to more than it is: it is not opened"
                    )
        with _quiet():
            module: Any = torch.export.load(io.BytesIO(content)).module()
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"model.pt2 is no program that torch can read ({str(error)[:200]}): export again") from error

    def run(given: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(*given)
        return found

    return run


def _onnx_program(content: bytes) -> Callable[[tuple[Tensor, ...]], Tensor]:
    _, runtime = _onnx_packages()
    try:
        # from memory, so that a graph that asks for files beside it finds none
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RunError(
            f"model.onnx is no program that onnxruntime can read ({str(error)[:200]}): export again"
        ) from error
    names = [i.name for i in session.get_inputs()]

    def run(given: tuple[Tensor, ...]) -> Tensor:
        [found] = session.run(None, {name: t.numpy() for name, t in zip(names, given)})
        return torch.from_numpy(found)

    return run


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch's exporter is built on it)
    except ImportError as error:
        raise MethodError(f"ONNX needs {error.name}, which is not installed: pip install 'lifelong[onnx]'") from error
    return onnx, onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says to its own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
