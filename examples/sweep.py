"""Two methods at equal cost, their constants searched for without the test data: a few seconds.

    pip install 'lifelong[sweep]'
    python examples/sweep.py

Each method may pass as many examples forward and back, and keep as many bytes. What its constants are to be is found on training examples
that were held out; the best of each is then run once, with other seeds, on the test sets. Last, what a search on the test sets would have
claimed: a bound, and no method's result (with as few trials as here it often is the same).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from lifelong import fit, interval
from lifelong.runs.search import Protocol, search
from lifelong.runs.search_space import Try, with_values
from lifelong.runs.spec import RunSpec

CONFIG = RunSpec.from_keys(
    {
        "stream": "split",
        "stream.source": "digits",
        "stream.tasks": 3,
        "scenario": "task",
        "method": "ewc,replay",
        "net.hidden": (32,),
        "epochs": 3,
        "batch_size": 32,
        "budget_compute": "8k",  # passes of examples, forward and back, importance estimates included
        "budget_memory": "40kB",
        "threads": 1,
    }
)
TRIES = ("ewc.strength=1:1e4:log", "ewc.fisher_examples=20,100", "replay.buffer_size=10:1000:log", "lr=0.01:0.3:log")


def main(trials: int = 4, seeds: tuple[int, ...] = (0, 1)) -> None:
    tries = [Try.read(said, CONFIG) for said in TRIES]
    with TemporaryDirectory() as folder:
        found = search(CONFIG, tries, Protocol("held-out"), Path(folder), trials=trials, seeds=(1000,))
        for method in found.methods:
            best = found.best(method)
            config = with_values(CONFIG, method, best.values)
            acc = []
            for seed in seeds:
                run = fit(
                    config.build_method(method),
                    config.build_net(),
                    config.build_stream(seed),
                    seeds=[seed],
                    training=config.build_training(),
                    budget=config.budget,
                )
                acc.append(run.matrix().acc)
            values = ", ".join(f"{k} {v:.3g}" for k, v in best.values.items())
            print(f"{method}: accuracy {interval(acc)} with {values}")
        refused = [t.note for t in found.trials if t.note]
        if refused:
            print(f"{len(refused)} trial(s) were beyond the budget, such as: {refused[0]}")
        peeked = search(CONFIG, tries, Protocol("oracle"), Path(folder), trials=trials, seeds=seeds)
        for method in peeked.methods:
            print(
                f"{method} (peeking): {peeked.best(method).score:.3f}, the best of {trials} on the test sets themselves"
            )


if __name__ == "__main__":
    main()
