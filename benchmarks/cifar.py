"""Split CIFAR-100 in one pass: 20 tasks of 5 classes, ResNet-18 with 20 filters, batch 10, as in GEM (arXiv 1706.08840) and A-GEM
(arXiv 1812.00420).

The task is known: its five outputs compete. SGD; learning rates as in A-GEM's script (fine-tuning 0.01, A-GEM 0.03; replay takes A-GEM's).
Memory: 65 examples a task in a ring. Reduced to what two cores do within the hour: 300 of 2,500 images a task, A-GEM's reference from 20
memories a step in place of 1,300, and R from 100 of 500 test images a task. So there is no verdict. In full:

    LIFELONG_DATA=... python benchmarks/cifar.py --examples 2500 --memory-batch 1300 --test-examples 500 [--seeds 3] [--jobs 2]
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from environment import save
from lifelong import AGEM, Finetune, Method, Replay, ResNet18, Training, fit, interval, split

LR = {"finetune": 0.01, "replay": 0.03, "agem": 0.03}
TASKS = 20


def run(method: Method, seed: int, examples: int, test_examples: int | None) -> dict[str, float]:
    torch.set_num_threads(1)
    stream = split(
        "cifar100",
        tasks=TASKS,
        scenario="task",
        order="random",
        seed=seed,
        examples=examples,
        test_examples=test_examples,
    )
    training = Training(lr=LR[method.name], batch_size=10)
    done = fit(method, ResNet18(20), stream, seeds=[seed], training=training)
    R = done.matrix(seed=seed)
    return {"acc": R.acc, "forgetting": R.forgetting, "learning_accuracy": R.learning_accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--test-examples", type=int, default=100, help="of 500 a task")
    parser.add_argument("--memory-batch", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    said = parser.parse_args()
    slots = 65 * TASKS
    methods = [Finetune(), Replay(slots, fill="ring"), AGEM(slots, batch=said.memory_batch)]
    with ProcessPoolExecutor(said.jobs, mp_context=get_context("spawn")) as pool:
        asked = {
            m.name: [pool.submit(run, m, seed, said.examples, said.test_examples) for seed in range(said.seeds)]
            for m in methods
        }
        table = {}
        for method in methods:
            found = [f.result() for f in asked[method.name]]
            table[method.name] = {k: interval([f[k] for f in found])._asdict() for k in found[0]} | {
                "method": str(method),
                "lr": LR[method.name],
            }
            print(method.name, {k: str(interval([f[k] for f in found])) for k in found[0]}, file=sys.stderr, flush=True)
            save("cifar", 1, **{k: v for k, v in vars(said).items() if k != "jobs"}, table=table)


if __name__ == "__main__":
    main()
