"""Split CIFAR-100 in one pass: 20 tasks of 5 classes, ResNet-18 with 20 filters, batch 10, as in GEM (arXiv 1706.08840) and A-GEM
(arXiv 1812.00420).

The task is known: its five outputs compete. SGD; learning rates as in A-GEM's script (fine-tuning 0.01, A-GEM 0.03; replay takes A-GEM's).
Memory: 65 examples a task in a ring. Reduced to what two cores do within the hour: 300 of 2,500 images a task, A-GEM's reference from 20
memories a step in place of 1,300, and R from 100 of 500 test images a task. So there is no verdict. In full:

    LIFELONG_DATA=... python benchmarks/cifar.py --examples 2500 --memory-batch 1300 --test-examples 500 [--seeds 3] [--jobs 2]
"""

from __future__ import annotations

from harness import Benchmark, over_seeds, plain
from lifelong import AGEM, Finetune, Method, Replay, ResNet18, Training, fit, split

LR = {"finetune": 0.01, "replay": 0.03, "agem": 0.03}
TASKS = 20


def run(method: Method, seed: int, examples: int, test_examples: int | None) -> dict[str, float]:
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
    bench = Benchmark("cifar", __doc__, seeds=3, jobs=2)
    bench.flag("--examples", type=int, default=300)
    bench.flag("--test-examples", type=int, default=100, help="of 500 a task")
    bench.flag("--memory-batch", type=int, default=20)
    said, slots = bench.said, 65 * TASKS
    methods = [Finetune(), Replay(slots, fill="ring"), AGEM(slots, batch_size=said.memory_batch)]
    with bench.runs(said.examples, said.test_examples, said.memory_batch) as runs:
        units = {(m.name, s): (m, s, said.examples, said.test_examples) for m in methods for s in range(said.seeds)}
        found = runs(run, units)
    table = {
        m.name: plain(over_seeds([found[m.name, s] for s in range(said.seeds)])) | {"method": str(m), "lr": LR[m.name]}
        for m in methods
    }
    bench.save(1, **bench.recipe, table=table)


if __name__ == "__main__":
    main()
