"""Tables of the bAbI tasks."""

from __future__ import annotations

from statistics import median
from typing import Any

from pages.cells import SAME, grid, measured, over, table


def learnt_together(r: dict[str, Any]) -> str:
    """All tasks at once."""
    j = r["joint"]
    runs = [[str(x["seed"]), f"{x['training_error']:.1f}", f"{sum(x['test_errors']) / 20:.1f}"] for x in j["restarts"]]
    rows = [[str(k), f"{a:.1f}", f"{b:.1f}"] for k, (a, b) in enumerate(zip(j["errors"], j["published"]), 1)]
    return (
        "### Learnt together\n\n![Accuracy on each task when all are learnt together](babi-joint.png)\n\n"
        f"The memory network of arXiv 1503.08895, 1,000 questions a task: `{j['net']}`, with linear start. Test error in percent, "
        f"of {len(j['restarts'])} restart(s) that with the least training error (theirs: of 10): mean **{j['mean']:.1f}**, published "
        f"{j['published_mean']} (their code in another language {j['port']}): {j['verdict']} (at most three points above it).\n\n"
        + table(["task", "ours", "published"], rows)
        + "\n"
        + table(["restart", "training error", "test error"], runs)
        + "\n"
        + measured(r, "python benchmarks/babi.py joint")
        + "\n"
    )


def a_network_a_task(r: dict[str, Any]) -> str:
    """Twenty networks."""
    e = r["each"]
    rows = [[str(k), f"{a:.1f}"] for k, a in enumerate(e["errors"], 1)]
    return (
        "### A network a task\n\n"
        f"`{e['net']}`, with linear start; test error in percent, of {len(e['restarts'])} restart(s) that with the least training error, "
        f"task by task (theirs: of 10): mean **{e['mean']:.1f}**, published {e['published_mean']} (their code in another language "
        f"{e['port']}): {e['verdict']} (at most three points above it).\n\n"
        + table(["task", "ours"], rows)
        + "\n"
        + measured(r, "python benchmarks/babi.py each")
        + "\n"
    )


def one_after_another(r: dict[str, Any]) -> str:
    """R of each method, task by task."""
    s = r["sequence"]
    rows = []
    for name, R in s["R"].items():
        last = [100 * a for a in R[-1]]
        new = [100 * R[k + 1][k] for k in range(20)]
        rows.append([name, *[f"{x:.1f}" for x in (sum(last) / 20, sum(new) / 20, last[4], last[9])]])
    strength = f" EWC's strength: {grid(s['strength'])}." if "strength" in s else ""
    return (
        "### One after another\n\n![Accuracy on each of the twenty tasks after each of them](babi-sequence.png)\n\n"
        f"Tasks 1 to 20 in turn, one output for each word, task not known: `{s['training']}`, one seed; percent. Methods: "
        + "; ".join(f"`{m}`" for m in s["methods"].values())
        + f".{strength}\n\n"
        + table(["method", "ACC", "each when just learnt", "task 5 at the end", "task 10 at the end"], rows)
        + "\n"
        + measured(r, "python benchmarks/babi.py sequence")
        + "\n"
    )


def what_helps(r: dict[str, Any]) -> str:
    """What an earlier kind of question does for a later one."""
    t = r["transfer"]
    rows = [[n, f"{g['mean']:+.1f} ± {g['half']:.1f}"] for n, g in t["gain"].items()]
    return (
        f"### What helps {t['on']}\n\n![What each earlier kind gives](babi-transfer.png)\n\n"
        f"Accuracy on it alone {t['alone']['mean']:.1f} ± {t['alone']['half']:.1f} percent; with one other kind learnt before it, same "
        f"seeds, the difference in points ({over(t['seeds'], SAME)}, `{t['training']}`):\n\n"
        + table(["learnt before", "difference"], rows)
        + "\n"
        + measured(r, "python benchmarks/babi.py transfer")
        + "\n"
    )


def speed(r: dict[str, Any]) -> str:
    """Beside a loop by hand."""
    v = r["speed"]
    rate = v["questions"] / median(v["ours"])
    return (
        f"### Speed\n\nJoint training, {rate:,.0f} questions a second; seconds over those of a loop by hand "
        f"{v['ratio_median']:.3f} ({v['ratio_min']:.3f} to {v['ratio_max']:.3f}, {v['pairs']} pairs).\n\n"
        + measured(r, "python benchmarks/babi.py speed")
    )


PARTS = {
    "joint": learnt_together,
    "each": a_network_a_task,
    "sequence": one_after_another,
    "transfer": what_helps,
    "speed": speed,
}


def babi(r: dict[str, Any]) -> str:
    text = "## Twenty kinds of question (bAbI, arXiv 1502.05698)\n\n"
    return (text + "".join(make(r) for part, make in PARTS.items() if part in r)).rstrip("\n") + "\n"
