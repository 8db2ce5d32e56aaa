"""What `accelerate launch` starts in a test: two batches a step, in as many processes as there are."""

import os
import sys

import torch
from accelerate import Accelerator

import own_loops
from lifelong import protect
from toys import toy_net, toy_stream

stream = toy_stream("task", tasks=2)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
net = toy_net(stream.outputs).double()
model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
guard = protect(model, optimizer, own_loops.BOTH, scenario="task")
rank, world = accelerator.process_index, accelerator.num_processes
for task in stream:
    x, y = task.train.x.double(), task.train.y
    guard.begin(task.classes)
    draws = torch.Generator().manual_seed(task.index)
    for _ in range(own_loops.STEPS):
        rows = torch.randint(len(y), (own_loops.BATCH,), generator=draws)
        for half in rows.chunk(2):  # each process takes its part of each half
            own = half.chunk(world)[rank]
            with accelerator.accumulate(model):
                batch = guard.mix(x[own], y[own])
                accelerator.backward(guard.loss(model(batch.x), batch))
                optimizer.step()
                optimizer.zero_grad()
    guard.consolidate((x.chunk(world)[rank], y.chunk(world)[rank]))
if rank == 0:
    torch.save({"weights": guard.theta.flat(), "ranks": guard.ranks.world}, sys.argv[1])
accelerator.wait_for_everyone()
accelerator.end_training()
os._exit(
    0
)  # gloo's threads outlive DistributedDataParallel; one that lets go of a tensor while Python ends aborts the process
