"""A curriculum of increasing length: remember a sequence, then say which symbol stood at one of its places.

What copying asks for all at once (Graves et al. 2014, arXiv 1410.5401; as a curriculum Sodhani, Chandar & Bengio, arXiv 1811.07017) is asked
here place by place, so that an answer is one of a few symbols. An example is a story as `lifelong.nets.Reader` and `MemoryNetwork` read it:
one symbol a row, the latest in the row before the last, in the last row the place that is asked for, counted from the beginning.
"""

from __future__ import annotations

import torch

from ..core.errors import DataError
from ..core.examples import Tensors
from ..core.random import generator
from ..core.stream import Scenario, Stream, Task, remembered

__all__ = ["copying"]


@remembered
def copying(
    lengths: tuple[int, ...] = (2, 3, 4, 5, 6),
    symbols: int = 4,
    seed: int = 0,
    scenario: Scenario = "domain",
    examples: int = 2000,
    test_examples: int = 500,
) -> Stream:
    """Sequences of symbols, one length a task, of which one place is asked for.

    Inputs are ``[longest + 1, 1]`` word numbers, 0 for none: 1 to `symbols` are symbols, those above are places. Outputs are the words,
    of which only symbols are ever right.

    Args:
        lengths: of the sequences, task by task.
        symbols: how many there are; guessing is right for one in so many.
        seed: of the sequences.
        scenario: domain; all tasks share their answers.
        examples: training examples of a task.
        test_examples: test examples of a task.

    Raises:
        DataError: no length, or one below 1; fewer than two symbols; no examples; another scenario; the same length twice.
    """
    if not lengths or min(lengths) < 1 or symbols < 2 or min(examples, test_examples) < 1:
        raise DataError(
            f"lengths {list(lengths)}, symbols {symbols}, examples {examples} and {test_examples}: expected lengths of 1 or more, two "
            "symbols or more, and an example or more"
        )
    if len(set(lengths)) < len(lengths):
        raise DataError(f"lengths {list(lengths)}: expected each once, since a task is named after its length")
    if scenario != "domain":
        raise DataError(
            f"scenario {scenario!r}: this stream's tasks share their symbols, which is the scenario 'domain'"
        )
    longest = max(lengths)
    tasks = []
    for length in lengths:
        sets = []
        for part, n in (("train", examples), ("test", test_examples)):
            draws = generator(seed, f"{part}/{length}")
            shown = torch.randint(symbols, (n, length), generator=draws)
            place = torch.randint(length, (n,), generator=draws)
            x = torch.zeros(n, longest + 1, 1, dtype=torch.int64)
            x[:, longest - length : longest, 0] = shown + 1
            x[:, longest, 0] = symbols + 1 + place
            sets.append(Tensors(x, shown[torch.arange(n), place]))
        tasks.append(Task(f"length {length}", sets[0], sets[1], tuple(range(symbols))))
    words = (*(f"symbol {s + 1}" for s in range(symbols)), *(f"place {p + 1}" for p in range(longest)))
    return Stream(tuple(tasks), scenario, words, "copying", "drawn", {"symbols": symbols, "seed": seed})
