"""A method in `transformers.Trainer`: each call of `train` is a task.

    keeper = LifelongCallback(EWC(strength=100.0), scenario="class")
    for dataset in tasks:
        Trainer(model, args, train_dataset=dataset, callbacks=[keeper]).train()

The Trainer owns its loop, so the method comes to it at two places. At the optimiser's step gradients are changed and weights projected, once
a step however many batches were accumulated for it, and after the Trainer has clipped: what is clipped is the examples' gradient, and a
projection or a penalty reaches the optimiser as it is. At the model's call, where the Trainer passes labels, remembered examples are mixed
into the batch and the loss becomes the method's; a method that only guards weights leaves the call alone in the scenario "domain".
Only trainable weights are anchored: with an adapter (PEFT) those of the adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from ..core.errors import DataError, MethodError, RunError
from ..core.method import Method
from ..core.random import untouched
from ..core.segments import Batch
from ..core.stream import Scenario
from ..runs.checkpoint import Store
from .dataloaders import Loaded
from .guard import Guard, protect
from .guard_checks import carried
from .packed import Packed

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise MethodError(f"transformers is not installed ({error}): pip install 'lifelong[huggingface]'") from error

__all__ = ["LifelongCallback"]


@final
class LifelongCallback(TrainerCallback):  # type: ignore[misc]  # it has types, and mypy passes over them (pyproject.toml)
    """Carries a method through the tasks that one Trainer after another (or the same one again) is given.

    The model classifies: logits ``[B, C]``, labels ``[B]`` that the batch calls ``labels``. A method that asks for neither (SI, L2) works
    with any loss.

    Args:
        method: a portable method.
        scenario: which outputs compete: in "class" those of the labels met so far, in "task" those of the present task's labels, in
            "domain" all.
        seed: of the method's draws.
        inputs: what the model is called with, labels aside.
        length: to which inputs are padded that do not come padded alike; a memory holds inputs of one length.

    Raises:
        MethodError: the method needs a loop of its own.
    """

    def __init__(
        self,
        method: Method,
        *,
        scenario: Scenario = "domain",
        seed: int = 0,
        inputs: Sequence[str] = ("input_ids", "attention_mask"),
        length: int | None = None,
    ) -> None:
        mend = "use Learner or fit with lifelong.loops.packed.Packed(model)"
        carried(method, loop=", which the Trainer's is not", fix=mend)
        method.check(scenario)
        self.method, self.scenario, self.seed = method, scenario, seed
        if isinstance(inputs, str) or not inputs:
            raise MethodError(
                f"inputs {inputs!r}: expected the names that the model is called with, such as ('input_ids',)"
            )
        self.inputs, self.length = tuple(inputs), length
        self.guard: Guard | None = None  # of the present or the last task
        self._saved: dict[str, Any] | None = None  # what is carried from task to task
        self._names: tuple[str, ...] | None = None  # of the weights that are trained
        self._hooks: list[Any] = []
        self._batch: Batch | None = None
        self._passed = False  # whether a gradient came back through the method's loss

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what was carried from task to task, and no guard: that belongs to a model and its optimizer."""
        return {k: v for k, v in vars(self).items() if k != "examples"} | {"guard": None, "_hooks": [], "_batch": None}

    # --- a task -----------------------------------------------------------------------------------------------------
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self._detach()  # a training before may have failed
        self._refuse(args)
        model: nn.Module = given["model"]
        self.net = Packed(model, self.inputs, self.length)
        self.examples = Loaded(given["train_dataloader"], self._read)
        self.guard = protect(self.net, given["optimizer"], self.method, scenario=self.scenario, seed=self.seed)
        try:
            self._begin(self.guard, args, state)
        except BaseException:  # the optimizer may be given to another
            self._detach()
            raise
        if self._partakes:
            self._hooks = [
                model.register_forward_pre_hook(self._mix, with_kwargs=True),
                model.register_forward_hook(self._lose, with_kwargs=True),
            ]

    def _begin(self, guard: Guard, args: TrainingArguments, state: TrainerState) -> None:
        saved = self._saved if not state.global_step else _read(_folder(args, state))
        if self._names not in (None, guard.theta.names):
            raise MethodError(
                "the model has other trainable weights than in the task before: give the callback the same model, with the same adapter"
            )
        if saved is not None:
            guard.load_state_dict(saved)
        if saved is None or not saved["meta"]["open"]:
            with untouched():
                classes = None if self.scenario == "domain" else self.examples.labels.unique().tolist()
            guard.begin(classes)
        if saved is None:
            with _whole(self.net.model):
                guard.rehearse(self.examples.part(guard.ranks))
        self._names = guard.theta.names

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if self._partakes and self._batch is None:
            raise MethodError(
                f"{self.method.name} takes part in the loss, but the Trainer calls the model without labels: leave label_smoothing_factor "
                "and compute_loss_func at their defaults"
            )
        if self._partakes and not self._passed:
            raise MethodError(
                f"{self.method.name} has a part in the loss, and what was differentiated is another: let compute_loss take the model's own loss "
                "(outputs['loss']), in which the method's is"
            )
        self._batch, self._passed = None, False

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        assert self.guard is not None
        with untouched(), _whole(self.net.model):
            self.guard.consolidate(self.examples.part(self.guard.ranks))
        self._saved = self.guard.state_dict()
        self._detach()

    @property
    def _partakes(self) -> bool:
        return self.scenario != "domain" or bool(self.method.acts & {"segments", "loss", "observe"})

    # --- the model's call -------------------------------------------------------------------------------------------
    def _mix(self, model: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """Labels come from the Trainer alone: a method that asks the model passes none."""
        if not (model.training and torch.is_grad_enabled() and given.get("labels") is not None):
            return None
        assert self.guard is not None
        self._batch = self.guard.mix(self.net.pack(given), given["labels"])
        return args, {**given, **self.net.unpack(self._batch.x), "labels": self._batch.y}

    def _lose(self, model: nn.Module, args: tuple[Any, ...], given: dict[str, Any], output: Any) -> Any:
        if not (model.training and torch.is_grad_enabled() and given.get("labels") is not None):
            return None
        assert self.guard is not None
        assert self._batch is not None
        loss = self.guard.loss(output["logits"], self._batch)
        loss.register_hook(self._came)
        whole = given.get(
            "num_items_in_batch"
        )  # of all batches that are accumulated, where the model is to divide by it
        output["loss"] = loss if whole is None else loss * (self.guard.share / whole)
        return output

    def _came(self, gradient: Tensor) -> None:
        self._passed = True

    def _read(self, batch: Any) -> tuple[Tensor, Tensor]:
        if batch.get("labels") is None:
            raise DataError(
                f"the batch has {', '.join(batch)}, but no labels: a method learns from pairs, and the model's loss needs them too"
            )
        return self.net.pack(batch), batch["labels"]

    # --- saving -----------------------------------------------------------------------------------------------------
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        assert self.guard is not None
        if state.is_world_process_zero:
            Store(_folder(args, state)).save(self.guard.state_dict())

    def save(self, folder: str | Path) -> None:
        """Writes what is carried to the next task, for another process; the model saves itself.

        Raises:
            MethodError: no task has ended yet.
        """
        if self._saved is None:
            raise MethodError(
                "nothing to save: no task has ended yet (the Trainer's checkpoints hold what is within a task)"
            )
        Store(Path(folder)).save(self._saved)

    def load(self, folder: str | Path) -> None:
        """Goes on from what `save` wrote.

        Raises:
            RunError: there is nothing whole in the folder.
        """
        self._saved = _read(Path(folder))

    # --- derived ----------------------------------------------------------------------------------------------------
    def _refuse(self, args: TrainingArguments) -> None:
        if args.deepspeed or args.fsdp:
            raise MethodError(
                "sharded weights (fsdp, deepspeed) are not whole at the optimiser's step, and importances would be wrong: train with plain "
                "data parallelism, or on one process"
            )
        if args.torch_compile and self._partakes:
            raise MethodError(
                f"{self.method.name} takes part in the model's call, which torch_compile would trace through: leave it out"
            )

    def _detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._batch = None
        if self.guard is not None:
            self.guard.detach()


@contextmanager
def _whole(model: nn.Module) -> Iterator[None]:
    """Out of the mixed precision that accelerate wraps a model's call in: squares of small numbers would be lost."""
    wrapped = model.__dict__.pop("forward", None) if "_original_forward" in model.__dict__ else None
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / "lifelong"


def _read(folder: Path) -> dict[str, Any]:
    saved = Store(folder).newest()
    if saved is None:
        raise RunError(
            f"{folder} holds nothing of the method: resume from a checkpoint that this callback was there to save"
        )
    return saved
