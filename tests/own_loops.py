"""Training loops that run alike in one process and in several, and what each of several does when `torch.multiprocessing` starts it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from lifelong import EWC, Learner, Method, MethodError, Replay, Training, chain, fit, protect
from lifelong.core.random import generator
from lifelong.core.ranks import Ranks
from lifelong.core.registry import METHODS
from lifelong.loops.dataloaders import Loaded
from toys import toy_net, toy_stream

STEPS, BATCH = 20, 16
# beside the usual constants: all ways of filling a memory, batches that two ranks cannot share evenly, the kinds of importance
CONSTANTS = {
    "ewc": [
        {"strength": 5.0},
        {"strength": 5.0, "importance": "empirical", "online": True, "fisher_examples": 31},
        {"strength": 0.5, "importance": "hessian", "implicit": True},
    ],
    "mas": [{}, {"inputs_used": 1}],
    "replay": [
        {"buffer_size": 40},
        {"buffer_size": 40, "fill": "balanced", "batch_size": 7},
        {"buffer_size": 40, "fill": "ring", "weighting": "tasks"},
        {"buffer_size": 40, "fill": "random"},
        {"buffer_size": 40, "fill": "herding"},
    ],
    "der": [{"buffer_size": 40}],
    "derpp": [{"buffer_size": 40}, {"buffer_size": 40, "batch_size": 5}],
    "gem": [{"buffer_size": 12}, {"buffer_size": 7}],
    "agem": [{"buffer_size": 40, "batch_size": 12}, {"buffer_size": 40, "batch_size": 9, "fill": "reservoir"}],
    "lwf": [{}, {"weighting": "tasks", "warmup": 3}],
    "generative_replay": [{"hidden": (8,), "code": 4}, {"hidden": (8,), "code": 4, "targets": "soft", "batch_size": 7}],
    "gdumb": [{"buffer_size": 40, "passes": 2}],
    "expert_gate": [{"code": 4, "gate_epochs": 1}],
    "fearnet": [{"every": 1, "gate_steps": 5}],
}
BOTH = chain(EWC(5.0), Replay(40))


def order(n: int, task: int) -> Tensor:
    """That of the library's own loop in a task's first epoch."""
    return torch.randperm(n, generator=generator(0, f"order/{task}/0/0"))


def methods() -> dict[str, Method]:
    """All that claim to give on several ranks what they give on one, by name and number."""
    made = {
        f"{name}/{i}": METHODS[name].load()(**constants)
        for name in METHODS
        if not METHODS[name].package  # in other processes conftest.py is not read
        for i, constants in enumerate(CONSTANTS.get(name, [{}]))
    }
    return {key: method for key, method in made.items() if method.traits.ranks}


def guarded(method: Method, dtype: torch.dtype = torch.float64, first: int | None = None) -> Tensor:
    """The weights after two tasks in somebody's own loop, where each process brings as many examples (or of two one the `first` so many)."""
    ranks, stream = Ranks.here(), toy_stream("task", tasks=2)
    net = toy_net(stream.outputs).to(dtype)
    model: nn.Module = DistributedDataParallel(net) if ranks.world > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    guard = protect(model, optimizer, method, scenario="task")

    def own(t: Tensor) -> Tensor:
        if first is None or ranks.world == 1:
            return t.chunk(ranks.world)[ranks.rank]
        return (t[:first], t[first:])[ranks.rank]

    for task in stream:
        x, y = task.train.x.to(dtype), task.train.y
        guard.begin(task.classes)
        draws = torch.Generator().manual_seed(task.index)
        for _ in range(STEPS):
            rows = torch.randint(len(y), (BATCH,), generator=draws)
            batch = guard.mix(own(x[rows]), own(y[rows]))
            loss = guard.loss(model(batch.x), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        guard.consolidate((own(x), own(y)))
    return guard.theta.flat()


def learnt(method: Method, batch_size: int = BATCH) -> Tensor:
    """The weights after two tasks in the library's loop."""
    stream = toy_stream("task", tasks=2)
    training = Training(lr=0.05, momentum=0.9, batch_size=batch_size, iterations=STEPS, clip=2.0)
    learner = Learner(
        toy_net(stream.outputs), method, training, scenario="task", dtype=torch.float64, ranks=Ranks.here()
    )
    for task in stream:
        if method.traits.once and task.index + 1 < len(stream):
            learner.remember(task)
        else:
            learner.learn(task)
    scores = [learner.scores(task.test.x.double(), task).clamp(min=-1e9).flatten() for task in stream]
    return torch.cat([learner.theta.flat(), *scores])


def everything(folder: Path) -> dict[str, Tensor]:
    usual = {key: method for key, method in methods().items() if key.endswith("/0")}
    found = {f"loop/{key}": guarded(method) for key, method in methods().items() if method.portable}
    found |= {f"float32/{key}": guarded(method, torch.float32) for key, method in usual.items() if method.portable}
    found |= {f"learner/{key}": learnt(method) for key, method in usual.items()}
    found |= {
        f"loop/replay/{first} of 16": guarded(Replay(40, batch_size=k), first=first) for first, k in ((9, 16), (7, 3))
    }
    found |= {
        f"loop/{name}/9 of 16": guarded(METHODS[name].load()(40, batch_size=16), first=9) for name in ("der", "derpp")
    }
    found |= {"learner/derpp/15 a step": learnt(METHODS["derpp"].load()(40), batch_size=15)}
    return found | {"fit/ewc": fitted(folder)}


def fitted(folder: Path) -> Tensor:
    """R, of a run on disk."""
    stream, training = toy_stream("task", tasks=2), Training(lr=0.05, batch_size=16)
    net = toy_net(stream.outputs)
    run = fit(EWC(5.0), net, stream, training=training, out=folder / "run", dtype=torch.float64, ranks=Ranks.here())
    return torch.from_numpy(run.matrix().R)


def refused() -> str:
    """What is said where processes draw differently, and of a model whose weights are spread over them."""
    net = toy_net(3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    said = []
    try:
        protect(net, optimizer, EWC(), seed=dist.get_rank()).begin()
    except MethodError as error:
        said.append(str(error))
    fully_shard(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    protect(net, optimizer, METHODS["finetune"].load()())
    try:
        protect(net, optimizer, EWC())
    except MethodError as error:
        said.append(str(error))
    return "\n".join(said)


def scarce() -> tuple[Tensor, Tensor, Tensor]:
    """One row that one rank alone has, of odd widths; and an importance of one example."""
    ranks = Ranks.here()
    x, y = torch.arange(5.0)[None], torch.tensor([3])
    rows = ranks.gather(x[ranks.rank :], y[ranks.rank :])
    net = toy_net(3)
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), EWC(importance="hessian", fisher_examples=1))
    guard.begin()
    data = toy_stream("domain")[0].train
    loader = DataLoader(TensorDataset(data.x[:8], data.y[:8]), batch_size=4)
    guard.consolidate(Loaded(loader, tuple).part(ranks))
    return (*rows, guard.state.A.flat())


def one_of(rank: int, world: int, folder: Path) -> None:
    """What each process does: everything, into a file of its own."""
    torch.set_num_threads(1)
    place = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    torch.save({**everything(folder), "refused": refused(), "scarce": scarce()}, folder / f"{rank}.pt")
    dist.destroy_process_group()
