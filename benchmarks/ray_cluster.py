"""A study on a Ray cluster of two nodes whose workers are killed: the numbers of this process alone, bit for bit, and what a death costs.

Two nodes of one processor each on this machine (`ray.cluster_utils`), four jobs (two methods, two seeds) on split digits. The worker of the first
job is killed (SIGKILL) within its second task, the whole second node within another job. Every job's last checkpoint is then compared with that
of the same run in one process.

    python benchmarks/ray_cluster.py          # about a minute on one core
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}

import ray
import torch
from ray.cluster_utils import Cluster

from harness import Benchmark
from lifelong.runs.checkpoint import Store
from lifelong.runs.jobs import Message, execute
from lifelong.runs.ray_executor import Ray
from lifelong.runs.run import Job
from lifelong.runs.spec import RunSpec

KEYS = {
    "stream": "split",
    "stream.source": "digits",
    "stream.tasks": 3,
    "method": "ewc,replay",
    "ewc.strength": 10,
    "net.hidden": (32,),
    "net.dropout": 0.2,
    "optimizer": "adam",
    "lr": 0.003,
    "batch_size": 16,
    "threads": 1,
    "every": 0.1,
    "seeds": 2,
}


WHERE = ("task", "step")


class Killer:
    """Follows what is said, and kills: the process of one job, then a node."""

    def __init__(self, folder: Path, cluster: Cluster, node: Any) -> None:
        self.folder, self.cluster, self.node = folder, cluster, node
        self.killed: dict[str, Any] = {}
        self.heard: list[Message] = []

    def __call__(self, message: Message) -> None:
        self.heard.append(message)
        late = message.step > message.steps / 2
        if message.kind == "step" and message.task == 1 and late and "worker" not in self.killed:
            owner = json.loads((self.folder / message.job.folder / ".owner").read_text())
            os.kill(owner["process"], signal.SIGKILL)
            self.killed["worker"] = {"job": list(message.job), "task": message.task + 1, "step": message.step}
        elif message.kind == "step" and message.task == 2 and "node" not in self.killed:
            self.killed["node"] = {"job": list(message.job), "task": message.task + 1, "step": message.step}
            threading.Thread(target=self.cluster.remove_node, args=(self.node,)).start()

    def again(self) -> dict[str, Any]:
        """Where the killed job was when it was first heard of again."""
        job = Job(*self.killed["worker"]["job"])
        said = [m for m in self.heard if m.job == job and m.kind == "step"]
        died = next(i for i, m in enumerate(said) if [m.task + 1, m.step] == [self.killed["worker"][k] for k in WHERE])
        return {"task": said[died + 1].task + 1, "step": said[died + 1].step}


def last(folder: Path, job: Job) -> dict[str, Any]:
    found = Store(folder / job.folder).newest()
    assert found is not None
    return found


def main() -> None:
    bench = Benchmark("ray_cluster", __doc__)
    bench.flag("--epochs", type=int, default=60)
    bench.flag("--test", action="store_true", help="write nothing")
    said = bench.said
    torch.set_num_threads(1)
    config = RunSpec.from_keys({**KEYS, "epochs": said.epochs})
    folder = Path(tempfile.mkdtemp())
    alone, failed = execute(config, folder / "alone")
    assert not failed
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    nodes = len(ray.nodes())
    killer = Killer(folder / "ray", cluster, node)
    run, failed = execute(config, folder / "ray", Ray(cluster.address), killer)
    ray.shutdown()
    cluster.shutdown()
    assert not failed, failed
    assert {"worker", "node"} == killer.killed.keys(), killer.killed
    same = {}
    for job in alone.records:
        a, b = last(folder / "alone", job), last(folder / "ray", job)
        same[f"{job.method} {job.seed}"] = (
            a["tensors"].keys() == b["tensors"].keys()
            and all(torch.equal(a["tensors"][k], b["tensors"][k]) for k in a["tensors"])
            and str(alone.records[job].accuracy) == str(run.records[job].accuracy)
        )
    assert all(same.values()), same
    left = [str(p) for p in (folder / "ray").rglob(".owner*")]
    assert not left, left
    found = {
        "nodes": nodes,
        "ray": ray.__version__,
        "every": config.every,
        "jobs": len(run.records),
        "same_bits": same,
        "killed": killer.killed,
        "went_on": killer.again(),
    }
    print(json.dumps(found, indent=1))
    if not said.test:
        bench.save(1, **found)


if __name__ == "__main__":
    main()
