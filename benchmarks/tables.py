"""docs/results.md, docs/benchmarks.md and docs/reliability.md, made from the files in results/. Run by every benchmark; by hand: python tables.py"""

from __future__ import annotations

from functools import partial

from front import front
from pages import answers, classes, costs, expansion, order, reliability, retention, transfer
from stored import DOCS, load

NAMES = """Results that were written by version 0.1.0 name hyperparameters as it did: `slots` is now
`buffer_size`, `batch` of a method is `batch_size`, `least` is `min_probability`."""
PAGES = {
    "results.md": (
        f"# Results\n\nWritten by the scripts in `benchmarks/`. {NAMES}\n\n",
        {
            "lecture": retention.lecture,
            "permuted": retention.permuted,
            "ewc_figure": retention.ewc_figure,
            "tradeoff": retention.tradeoff,
            "which": retention.which,
            "cifar": transfer.cifar,
            "new_classes": classes.new_classes,
            "clinc": classes.clinc,
            "sentences": classes.sentences,
            "gem": transfer.gem,
            "gem_angles": transfer.gem_angles,
            "transfer": transfer.transfer,
            "taxonomy": order.taxonomy,
            "curriculum": order.curriculum,
            "babi": answers.babi,
            **{n: partial(retention.van_de_ven, n) for n in retention.VAN_DE_VEN},
            "net2net": expansion.net2net,
            "progressive": expansion.progressive,
            "expert_gate": expansion.expert_gate,
            "copy_curriculum": expansion.copy_curriculum,
            "fine_tuned": classes.fine_tuned,
            "elec2": classes.elec2,
            "stability_gap": retention.stability_gap,
            "torchvision": classes.torchvision,
        },
    ),
    "benchmarks.md": (
        f"# Speed\n\nWritten by the scripts in `benchmarks/`. Ratios, measured in one run. {NAMES}\n\n",
        {"overhead": costs.overhead, "rehearsal": costs.rehearsal, "peers": costs.peers, "growth": costs.growth},
    ),
    "reliability.md": (reliability.RELIABILITY, {"faults": reliability.faults, "demo_robust": reliability.demo_robust}),
}


def write() -> None:
    """Writes the pages of what has been measured."""
    for page, (head, parts) in PAGES.items():
        found = [(make, load(name)) for name, make in parts.items()]
        (DOCS / page).write_text(head + "\n".join(make(r) for make, r in found if r is not None))
    front()


if __name__ == "__main__":
    write()
