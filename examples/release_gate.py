"""A release pipeline in seconds: the old model, two candidates for its place, the gate, the export, and answers of what was exported.

    python examples/release_gate.py [FOLDER]

The old model has learnt one task of permuted digits. Two candidates have learnt three: one by fine-tuning, one with replay. The gate lets pass
what did not forget; that is exported, and asked about images that it has never seen.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path

from lifelong import permuted
from lifelong.cli import main as lifelong

RUN = [
    "run",
    "--stream",
    "permuted",
    "--stream.source",
    "digits",
    "--net.hidden",
    "64",
    "--epochs",
    "8",
    "--batch_size",
    "32",
    "--momentum",
    "0",
    "--threads",
    "1",
]


def main(folder: Path) -> dict[str, object]:
    old, new = folder / "old", folder / "new"
    assert lifelong([*RUN, "--stream.tasks", "1", "--out", str(old)]) == 0
    candidates = ["--method", "finetune,replay", "--replay.buffer_size", "1000"]
    assert lifelong([*RUN, "--stream.tasks", "3", *candidates, "--out", str(new)]) == 0

    status = {}
    for method in ("finetune", "replay"):
        which = ["--old", str(old), "--new", str(new), "--new-method", method]
        limits = ["--max-drop", "0.05", "--max-negative-flips", "0.08", "--worst-class", "0.2"]
        pages = ["--markdown", str(folder / f"{method}.md"), "--json", str(folder / f"{method}.json")]
        status[method] = lifelong(["gate", *which, *limits, *pages])
        found = json.loads((folder / f"{method}.json").read_text())["total"]
        print(
            f"{method}: accuracy on what the old model knew {found['accuracy_old']:.3f} -> {found['accuracy_new']:.3f}, status {status[method]}"
        )

    passed = [method for method, s in status.items() if s == 0]
    released = folder / "released"
    assert lifelong(["export", str(new), "--method", passed[0], "--out", str(released)]) == 0

    # the third task's test images, as the stream turns them out, in a file
    chunk = next(permuted(source="digits", tasks=3)[2].test.all(200))
    with open(folder / "images.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"pixel {i}" for i in range(chunk.x[0].numel())), "label"])
        writer.writerows([*x, y] for x, y in zip(chunk.x.flatten(1).tolist(), chunk.y.tolist()))
    assert lifelong(["predict", str(released), str(folder / "images.csv"), "--out", str(folder / "answers.csv")]) == 0
    with open(folder / "answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["answer"] == row["label"] for row in rows) / len(rows)
    print(f"the released model answers {right:.3f} of {len(rows)} images of the third task")
    return {"status": status, "right": right}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
