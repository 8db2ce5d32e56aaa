"""A method in `lightning.Trainer`: each call of `fit` is a task.

    keeper = LifelongCallback(EWC(strength=100.0))
    for loader in tasks:
        lightning.Trainer(max_epochs=1, callbacks=[keeper]).fit(module, loader)

At the optimiser's step gradients are changed and weights projected, once a step however many batches were accumulated for it, and after
Lightning has clipped. The module itself is the network: ``module(x)`` gives logits. Where a method takes part in the batch and the loss the
module's `training_step` asks the callback for both::

    def training_step(self, batch, index):
        batch = keeper.mix(*batch)
        return keeper.loss(self(batch.x), batch)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from torch import Tensor
from torch.utils.data import DataLoader

from ..core.errors import MethodError
from ..core.method import Method
from ..core.random import untouched
from ..core.segments import Batch
from ..core.stream import Scenario
from .dataloaders import Loaded
from .guard import Guard, protect
from .guard_checks import carried

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MethodError(f"lightning is not installed ({error}): pip install 'lifelong[lightning]'") from error

__all__ = ["LifelongCallback"]


@final
class LifelongCallback(Callback):
    """Carries a method through the tasks that one Trainer after another is given. (The same one trains no more once it has had its
    ``max_epochs``.)

    Args:
        method: a portable method.
        scenario: which outputs compete: in "class" those of the labels met so far, in "task" those of the present task's labels, in
            "domain" all.
        seed: of the method's draws.
        read: takes what the loader gives apart, into inputs and labels; default: they are a pair.

    Raises:
        MethodError: the method needs a loop of its own.
    """

    def __init__(
        self,
        method: Method,
        *,
        scenario: Scenario = "domain",
        seed: int = 0,
        read: Callable[[Any], tuple[Tensor, Tensor]] = tuple,
    ) -> None:
        carried(method, loop=", which the Trainer's is not")
        method.check(scenario)
        self.method, self.scenario, self.seed, self.read = method, scenario, seed, read
        self.guard: Guard | None = None  # of the present or the last task
        self._saved: dict[str, Any] | None = None  # what is carried from task to task
        self._trained = False  # whether the present `fit` came to train

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what was carried from task to task, and no guard: that belongs to a model and its optimizer."""
        own = {
            k: v for k, v in vars(self).items() if k not in ("examples", "log", "log_dict")
        }  # the latter are Lightning's
        return own | {"guard": None, "_trained": False}

    # --- a task -----------------------------------------------------------------------------------------------------
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trained = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._trained:
            raise MethodError(
                f"fit trained nothing: this Trainer has had its {trainer.max_epochs} epochs already; make a new one for each task"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trained = True
        if self.guard is not None:
            self.guard.detach()  # a training before may have failed
        if len(trainer.optimizers) != 1:
            raise MethodError(f"{len(trainer.optimizers)} optimizers: a method needs the one that trains the network")
        loader = trainer.train_dataloader
        if not isinstance(loader, DataLoader):
            raise MethodError(f"a task is one DataLoader; got {type(loader).__name__}")
        self.examples = Loaded(loader, self.read)
        guard = protect(pl_module, trainer.optimizers[0], self.method, scenario=self.scenario, seed=self.seed)
        self.guard = guard
        try:
            self._begin(guard)
        except BaseException:  # the optimizer may be given to another
            guard.detach()
            raise

    def _begin(self, guard: Guard) -> None:
        saved = self._saved
        if saved is not None:
            guard.load_state_dict(saved)
        if saved is None or not saved["meta"]["open"]:
            with untouched():
                classes = None if self.scenario == "domain" else self.examples.labels.unique().tolist()
            guard.begin(classes)
        if saved is None:
            guard.rehearse(self.examples.part(guard.ranks))

    def mix(self, x: Tensor, y: Tensor) -> Batch:
        """What a step should learn from (see `Guard.mix`)."""
        return self._present.mix(x, y)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of a mixed batch (see `Guard.loss`)."""
        return self._present.loss(output, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with untouched():
            self._present.consolidate(self.examples.part(self._present.ranks))
        self._saved = self._present.state_dict()
        self._present.detach()

    @property
    def _present(self) -> Guard:
        if self.guard is None:
            raise MethodError("no task has begun: Trainer(callbacks=[...]) must hold this callback")
        return self.guard

    # --- saving -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        return {} if self.guard is None else self.guard.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict or None
