"""Permuted digits, a task after another, in a loop with `accelerate`: `protect` is all that it needs.

Gradients are accumulated over two batches and clipped; the method acts once a step.

    python examples/accelerate_loop.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

from lifelong import EWC, MLP, Finetune, Method, permuted, protect


def learn(method: Method) -> list[float]:
    stream = permuted(tasks=3, source="digits")
    torch.manual_seed(0)
    net = MLP((100, 100))(stream.shape, stream.outputs)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1))
    guard = protect(model, optimizer, method)
    for task in stream:
        images = next(task.train.all(len(task.train)))
        loader = accelerator.prepare(DataLoader(TensorDataset(images.x, images.y), batch_size=8, shuffle=True))
        for _ in range(3):
            for x, y in loader:
                with accelerator.accumulate(model):
                    loss = F.cross_entropy(model(x), y)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), 5.0)
                    optimizer.step()
                    optimizer.zero_grad()
        guard.consolidate(loader)
    net.eval()
    with torch.no_grad():
        tests = [next(task.test.all(len(task.test))) for task in stream]
        return [float((net(t.x).argmax(1) == t.y).float().mean()) for t in tests]


def main() -> None:
    for method in (Finetune(), EWC(strength=30.0)):
        found = learn(method)
        print(f"{method.name:10}  {'  '.join(f'{a:.2f}' for a in found)}  mean {sum(found) / len(found):.2f}")


if __name__ == "__main__":
    main()
