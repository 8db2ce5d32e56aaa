"""What goes wrong, and how it was tried."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lifelong.report.words import count
from pages.cells import measured, table

FAULTS = {
    "kills": "SIGKILL at a random moment, up to three times in one run, 26 methods",
    "terms": "SIGTERM in each phase, and at random moments",
    "disk": "a disk that is full from the n-th write on, for n all over a run, with and without half a write; files of a limited size; a file system "
    "of a few kilobytes",
    "damage": "checkpoints cut short, changed in one bit, empty, missing; both of them; older ones, and those of another run",
    "forged": "checkpoints with a valid seal, in which one value was replaced by something else",
    "archives": "archives with links, devices, absolute paths and paths upwards, bombs; broken ones",
    "configurations": "configurations that name code, or that are a bomb",
    "numbers": "NaN among inputs in memory, inputs read as needed and test inputs; in the loss; in a gradient",
    "twice": "one directory entered by six processes at once",
    "memory": "an address space 1 to 100 MB larger than what the process has, with a network that needs more",
}


def faults(r: dict[str, Any]) -> str:
    found = r["faults"]
    rows = []
    for name, done in FAULTS.items():
        f = found[name]
        ended = Counter[str]()
        for how, n in f["ended"].items():
            ended[how.partition(",")[0].partition(": ")[2] or how.partition(",")[0]] += n
        said = "; ".join(f"{how}: {n}" for how, n in sorted(ended.items()))
        bits = f"{f['differing']:,} of {f['bits']:,}" if f["bits"] else "–"
        rows.append([done, f"{f['cases']:,}", said, str(len(f["unclear"])), str(len(f["lost"])), bits])
    kills = found["kills"]
    by = ", ".join(f"{m} {n}" for m, n in kills["by_method"].items())
    phases = ", ".join(f"{p} {n}" for p, n in kills["by_phase"].items())
    each = {
        kind: ", ".join(
            f"{how.partition(', ')[2]} ({how.partition(',')[0]}): {n}"
            for how, n in sorted(found[kind]["ended"].items())
        )
        for kind in ("terms", "disk", "damage", "configurations", "numbers")
    }
    return (
        "## Measured\n\n"
        "After each fault the run goes on (or, where its data or memory were at fault, is given good ones), and its last bits are compared "
        "with those of a run that nobody touched: weights, optimiser, the method's state, random generators, R and every count. *Not clear*: it "
        "ended with anything but a message of one line. *Lost*: it could not go on.\n\n"
        + table(["fault", "cases", "how it ended", "not clear", "lost", "differing bits"], rows)
        + f"\nKills by method: {by}. By what the process was doing: {phases}.\n\n"
        + "".join(f"- *{kind}*: {said}\n" for kind, said in each.items())
        + "\n"
        + measured(r, "python benchmarks/faults.py")
    )


def demo_robust(r: dict[str, Any]) -> str:
    ways = r["ways"]
    head = [f"`{w['capability']}`, {count([w['threads']], 'thread')}" for w in ways]
    rows = [
        [f"`{id}`", *(f"{100 * w['holds'][id]:.2f}% ({w['all seeds'][id]['estimate']:+.1f})" for w in ways)]
        for id in ways[0]["holds"]
    ]
    apart = r["differing"]
    return (
        "## The demo on other processors\n\n"
        f"Both parts of `lifelong demo` with {r['seeds']} seeds, under each instruction set that `ATEN_CPU_CAPABILITY` chooses (`own`: what the "
        f"machine takes by itself, here {ways[0]['is']}), with one and with two threads. Five of the seeds are drawn {r['draws']:,} times, and the "
        "demo decides its claims on each draw. Given is the share of draws on which a claim holds and, in parentheses, the estimate from all "
        f"seeds, in points. What a claim says, and its margin, stand in the demo's `story.json`.\n\n"
        + table(["claim", *head], rows)
        + f"\nThe last bits of sums differ between these ways, and training amplifies that: {100 * apart['share']:.0f}% of the accuracies at "
        f"the end differ in at least one way from the first, by up to {100 * apart['largest']:.0f} points.\n\n"
        + measured(r, "python benchmarks/demo_robust.py")
    )


RELIABILITY = """# Reliability

What a run does when something goes wrong, and how it was tried. The tables further down are written by
`benchmarks/faults.py` and `benchmarks/demo_robust.py`.

| what goes wrong | what happens |
|---|---|
| the process is killed, or the machine stops | it goes on from the newest whole checkpoint (`lifelong resume DIR`, or the same `fit(..., out=DIR)`), to the same bits |
| Ctrl-C or SIGTERM | it stops at the next pause, a thousand examples away or so, or after the evaluation or the writing that it is in; everything is saved; exit status 130 |
| the disk is full, or a file may not grow | one line says which file, exit status 1; the checkpoint before is whole |
| a checkpoint is cut short or altered | its hash does not fit: the one before it is taken, `events.jsonl` notes it; without any the run begins anew |
| a checkpoint is another run's | refused; the message says what differs (method, training, network, precision, seed, scenario, tasks, data) |
| inputs that are NaN or infinite | those in memory are looked at when their task begins, and the rows are named; those that are read as needed show in the loss |
| the loss is NaN or infinite | training stops at the end of the epoch, or before the next checkpoint, and says in which task and steps it was so. Nothing in a step waits for that |
| weights that are NaN | are never saved: the checkpoint before is kept |
| scores that are NaN in a test | an error names the task and how many examples; they are not counted as wrong answers |
| memory is short | one line says so, exit status 1; what was saved is kept |
| a directory is in use | the second process is refused; a lock dies with its process |
| an archive, a checkpoint or a configuration wants to do harm | see `SECURITY.md`: nothing in them is run, no path or link in them is followed |

What is not held: the numbers of a run on a GPU need not be the same bits when it is resumed; a forged checkpoint can hold wrong numbers
(its seal finds damage, not malice); what an operating system kills for want of memory says nothing, and is resumed as any kill is.

"""
