"""In which order? Orders that a rule chooses: by difficulty, by what transfers, at random, or as a file says.

A curriculum is a function from stream to stream (``stream.reorder``). The one called *learned* is found in three steps: transfers
are measured (`lifelong.curriculum.affinity`), a taxonomy is solved (`lifelong.curriculum.taxonomy`), whose sources come before their
targets, and among the orders left a beam search takes the one of the best estimated transfer (`lifelong.curriculum.order_search`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import nn

from ..core.contexts import Costs
from ..core.errors import MethodError, nearest
from ..core.method import Method
from ..core.random import derive
from ..core.stream import Stream
from ..runs.executor import Engine
from ..runs.spec import RunSpec
from ..training.build import Build, learner_for
from ..training.settings import Training
from .affinity import Probe, Transfers, measure, name_of, planned
from .order_search import Goal, Order, recommend
from .taxonomy import solve

__all__ = ["RULES", "Curriculum", "Found", "by_difficulty", "from_transfers", "learned", "read_order", "settle"]

Curriculum = Callable[[Stream], Stream]
RULES = ("learned", "random", "hard-first", "easy-first")


def read_order(path: Path, names: Sequence[str]) -> tuple[Order, Costs]:
    """An order from a file: a task's name a line, or the JSON that ``lifelong taxonomy`` and a run write (``{"order": [...]}``);
    and what it took to find, where the file says that.

    Raises:
        MethodError: it cannot be read, or does not have each task once.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree: dict[str, Any] = json.loads(text) if text.lstrip().startswith("{") else {"order": text.split("\n")}
        said = [str(name).strip() for name in tree["order"] if str(name).strip()]
        costs = Costs(**tree.get("costs", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MethodError(
            f"cannot read an order from {path} ({error}): expected one of {', '.join(RULES)}, or a file with a task's name a line"
        ) from error
    unknown = [n for n in said if n not in names]
    if unknown:
        raise MethodError(f"{path}: no task {unknown[0]!r}{nearest(unknown[0], names)}; there are: {', '.join(names)}")
    if sorted(said) != sorted(names):
        raise MethodError(f"{path}: expected each of {len(names)} tasks once, got {len(said)} ({', '.join(said)})")
    return tuple(list(names).index(n) for n in said), costs


@final
@dataclass(frozen=True)
class Found:
    """An order that was chosen: itself a curriculum. `why` is what the choice was made of, `costs` what it took."""

    order: Order
    costs: Costs
    why: Mapping[str, Any]

    def __call__(self, stream: Stream) -> Stream:
        return stream.reorder(self.order)

    def to_json(self, stream: Stream, rule: str) -> str:
        """``order.json``."""
        tree = {
            "rule": rule,
            "order": [stream[i].name for i in self.order],
            "costs": asdict(self.costs),
            "why": self.why,
        }
        return json.dumps(tree, indent=1)


def by_difficulty(
    stream: Stream,
    net: Build | nn.Module,
    training: Training,
    *,
    hardest: bool = False,
    seed: int = 0,
    fraction: float = 0.2,
) -> Found:
    """Easy tasks first, or the hardest. How hard a task is says a probe: a network that learns it alone, and its accuracy on
    training examples that were held out."""
    held, costs, score = stream.hold_out(fraction, seed), Costs(), []
    for i in range(len(held)):
        alone = held.subset([i])
        learner = learner_for(Method(), net, alone, training, seed)
        learner.learn(alone[0])
        score.append(learner.evaluate(alone)[0][0])
        costs = _sum(costs, learner.costs)
    chosen = sorted(range(len(held)), key=lambda i: score[i] if hardest else -score[i])
    return Found(tuple(chosen), costs, {"held-out accuracy alone": {t.name: s for t, s in zip(stream, score)}})


def learned(
    stream: Stream,
    net: Build | nn.Module,
    training: Training,
    *,
    probe: Probe | None = None,
    budget: float | None = None,
    seed: int = 0,
    folder: Path | None = None,
    jobs: int | Engine = 1,
    tell: Callable[[str], None] = lambda line: None,
    wait: float = 0.0,
) -> Found:
    """The order that the measured transfers recommend (see above).

    Args:
        budget: how many tasks may be sources in the taxonomy; half of them, if nothing is said.
        probe, folder, jobs, tell, wait: as `lifelong.curriculum.affinity.measure` takes them.
    """
    found = measure(stream, net, training, probe, seed=seed, folder=folder, jobs=jobs, tell=tell, wait=wait)
    return from_transfers(found, budget)


def from_transfers(found: Transfers, budget: float | None = None, goal: Goal = "acc") -> Found:
    """The order that these transfers recommend."""
    table = found.affinities
    limit = math.ceil(len(found.tasks) / 2) if budget is None else budget
    taxonomy = solve(table.p, limit)
    chosen = recommend(table, taxonomy, found.tasks, goal)
    why = {
        "goal": goal,
        "budget": limit,
        "sources": list(taxonomy.sources),
        "transfers": [t.key for t in taxonomy.transfers],
    }
    return Found(chosen, found.costs, why)


def settle(
    config: RunSpec, jobs: int | Engine = 1, tell: Callable[[str], None] = lambda line: None
) -> tuple[RunSpec, str]:
    """A configuration whose order is the places of the tasks, in place of a rule or a file; and the text of ``order.json``, which
    says what it was made of and what it cost. A rule is applied to the stream, network and training of the first seed. Transfers that were
    measured before, of the same, are kept in the user's cache and read from there; what they cost counts all the same."""
    rule, bare = config.order, replace(config, order=None)
    seed = config.seeds[0]
    stream, net, training = bare.build_stream(seed), bare.build_net(), bare.build_training()
    if rule in ("hard-first", "easy-first"):
        tell(f"order {rule}: {len(stream)} networks are trained to see how hard each task is")
        found = by_difficulty(stream, net, training, hardest=rule == "hard-first", seed=seed)
    elif rule == "learned":
        tell(f"order learned: {planned(stream, training, Probe())}")
        import pooch

        probe = Probe()
        folder = Path(pooch.os_cache("lifelong")) / "transfers" / name_of(stream, net, training, probe, seed)
        found = learned(stream, net, training, probe=probe, seed=seed, folder=folder, jobs=jobs, tell=tell, wait=3600.0)
    elif rule == "random":
        draws = np.random.default_rng(derive(seed, "order"))
        found = Found(tuple(draws.permutation(len(stream)).tolist()), Costs(), {"seed": seed})
    elif isinstance(rule, str):
        order, costs = read_order(Path(rule), [t.name for t in stream])
        found = Found(order, costs, {"file": Path(rule).name})
    else:
        raise MethodError(f"order {rule}: expected one of {', '.join(RULES)}, or a file")
    tell(f"order {rule}: {', '.join(stream[i].name for i in found.order)}")
    return replace(config, order=found.order), found.to_json(stream, rule)


def _sum(a: Costs, b: Costs) -> Costs:
    return Costs(*(x + y for x, y in zip(asdict(a).values(), asdict(b).values())))
