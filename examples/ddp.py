"""One network, learnt by several processes together: two tasks, EWC and replay, and what a failure costs.

    python examples/ddp.py                                            # alone
    torchrun --nproc-per-node 2 examples/ddp.py --out ddp-run         # two processes: the same numbers
    torchrun --nproc-per-node 2 examples/ddp.py --out ddp-run         # said again after a failure: goes on where it was

On GPUs the backend is "nccl", and model and data go to ``cuda:LOCAL_RANK``.
"""

import argparse
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lifelong import EWC, MLP, Replay, chain, permuted, protect

BATCH, EPOCHS, EVERY = 64, 2, 20  # examples a step, of all processes; steps between two checkpoints


def main(out: Path | None) -> None:
    if "RANK" in os.environ:  # torchrun has started this
        # how long a process waits for another that hangs; one that has ended is noticed at once
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    stream = permuted(tasks=2, source="mnist-mini")
    torch.manual_seed(0)
    net = MLP((64, 64))(stream.shape, stream.outputs)
    model = DistributedDataParallel(net) if world > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = protect(model, optimizer, chain(EWC(strength=5.0), Replay(buffer_size=200)))

    place = None if out is None else out / "last.pt"
    first, start = 0, 0  # task, step
    if place is not None and place.exists():
        saved = torch.load(place)
        net.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        guard.load_state_dict(saved["guard"])
        first, start = saved["task"], saved["step"]

    def save(task: int, step: int) -> None:
        if place is None or rank:
            return  # what the guard remembers is the same on all ranks
        place.parent.mkdir(parents=True, exist_ok=True)
        state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "guard": guard.state_dict()}
        torch.save({**state, "task": task, "step": step}, place.with_suffix(".new"))
        place.with_suffix(".new").replace(place)  # whole, or not there

    for task in stream.tasks[first:]:
        data = next(task.train.all(len(task.train)))
        x, y = data.x, data.y
        order = torch.cat([torch.randperm(len(y), generator=torch.Generator().manual_seed(e)) for e in range(EPOCHS)])
        batches = order[: len(order) // BATCH * BATCH].split(BATCH)
        for step in range(start, len(batches)):
            own = batches[step].chunk(world)[rank]  # a DataLoader with a DistributedSampler does as well
            batch = guard.mix(x[own], y[own])
            loss = guard.loss(model(batch.x), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % EVERY == 0:
                save(task.index, step + 1)
        guard.consolidate((x.chunk(world)[rank], y.chunk(world)[rank]))  # each brings its part
        start = 0
        save(task.index + 1, 0)

    if rank == 0:
        with torch.no_grad():
            for task in stream:
                data = next(task.test.all(len(task.test)))
                print(f"{task.name}: {(net(data.x).argmax(1) == data.y).float().mean():.3f}")
    if dist.is_initialized():
        dist.barrier()  # a process that ends early closes what others still read
        dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a folder for checkpoints")
    main(parser.parse_args().out)
