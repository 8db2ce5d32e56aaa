"""What `lifelong track` hands to MLflow and to Weights & Biases, read back. (tests/watch/test_trackers.py does it with
TensorBoard; these two take too long to start for the suite.)

A small run is made and handed on. MLflow's client reads its database; Weights & Biases has no reader of its own for its offline file, only its messages. Every cell of R
and five measures are compared with the run's results.csv. With --alone it does so in a network namespace that has no network at all,
which needs root. What was found: results/trackers.json.

    python benchmarks/trackers.py [--alone]        (about a minute)
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import Benchmark, seconds

LIFELONG = [sys.executable, "-m", "lifelong"]
RUN = [
    "run",
    "--stream",
    "permuted",
    "--stream.tasks",
    "3",
    "--net.hidden",
    "20",
    "--method",
    "finetune,ewc",
    "--threads",
    "1",
]
Rows = dict[tuple[str, int], dict[str, dict[int, float]]]  # by method and seed: by name: by step


def expected(run: Path) -> Rows:
    """The accuracies and measures of results.csv by the names that trackers show."""
    names = json.loads((run / "manifest.json").read_text())["tasks"]
    found: Rows = {}
    with open(run / "results.csv", newline="") as file:
        for r in csv.DictReader(file):
            value, after = float(r["value"]), int(r["after"])
            name = f"accuracy/{r['on']} {names[int(r['on']) - 1]}" if r["on"] else r["metric"]
            if not math.isnan(value) and (r["on"] or r["metric"] in ("acc", "bwt", "fwt", "forgetting", "worst_case")):
                found.setdefault((r["method"], int(r["seed"])), {}).setdefault(name, {})[after] = value
    return found


def mlflow(run: Path, out: Path) -> Rows:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{out}/mlflow.db")
    experiment = client.get_experiment_by_name(run.name)
    assert experiment is not None
    found: Rows = {}
    for r in client.search_runs([experiment.experiment_id]):
        assert r.info.status == "FINISHED"
        assert r.data.params["net.hidden"] == "[20]"
        mine = found.setdefault((r.data.tags["method"], int(r.data.tags["seed"])), {})
        for name in r.data.metrics:
            mine[name] = {m.step: m.value for m in client.get_metric_history(r.info.run_id, name)}
    return found


def records(data: bytes) -> Iterator[bytes]:
    """The messages of an offline file: seven bytes of header, and blocks of 32 KiB as LevelDB's logs have them (a sum of four
    bytes, a length of two, a type: whole, first, middle or last part)."""
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a part in this block
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def wandb(run: Path, out: Path) -> Rows:
    from wandb.proto import wandb_internal_pb2

    found: Rows = {}
    for file in sorted(out.glob("wandb/offline-run-*/*.wandb")):
        mine: dict[str, dict[int, float]] = {}
        who: dict[str, Any] = {}
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            for item in record.run.config.update:
                who[item.key] = json.loads(item.value_json)
            row = {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            for key, value in row.items():
                mine.setdefault(key, {})[int(row["_step"])] = value
            for i in record.summary.update:
                name = i.key or "/".join(i.nested_key)
                if name in ("acc", "bwt", "fwt", "forgetting", "worst_case"):
                    mine[name] = {3: json.loads(i.value_json)}
        found[who["method"], int(who["seed"])] = mine
    return found


def compared(found: Rows, wanted: Rows) -> int:
    """How many numbers were read back as they are in results.csv."""
    assert found.keys() == wanted.keys(), found.keys()
    count = 0
    for job, rows in wanted.items():
        for key, values in rows.items():
            assert found[job][key] == values, (job, key, found[job].get(key), values)
            count += len(values)
    return count


def main() -> None:
    bench = Benchmark("trackers", __doc__)
    bench.flag("--alone", action="store_true", help="without any network")
    said = bench.said
    if said.alone and not os.environ.get("ALONE"):
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh"]
        sys.exit(subprocess.run([*command, sys.executable, *sys.argv], env={**os.environ, "ALONE": "1"}).returncode)
    seen: dict[str, Any] = {"network": not said.alone}
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "small"
        subprocess.run([*LIFELONG, *RUN, "--seeds", "2", "--out", str(run)], check=True)
        for name, package, read in (("mlflow", "mlflow-skinny", mlflow), ("wandb", "wandb", wandb)):
            out = Path(place) / name
            # a process of its own: what Weights & Biases writes is whole when its process has ended
            track = [*LIFELONG, "track", str(run), "--to", name, "--out", str(out)]
            took = seconds(lambda track=track: subprocess.run(track, check=True))
            count = compared(read(run, out), expected(run))
            seen[name] = {"version": version(package), "seconds": round(took, 1), "numbers_compared": count}
    bench.save(1, **seen)
    print(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main()
