"""Data ten times larger than the memory that the process is given are learnt in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, resource, sys
from pathlib import Path
import numpy as np
import torch
from torch.utils.data import Dataset
from lifelong import EWC, MLP, Finetune, Training, fit, stream_of
from lifelong.errors import LifelongError

kind, folder, more = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
N, d = 10 * more // 2 // 4096, 1024
torch.set_num_threads(1)

class Items(Dataset):
    def __init__(self, path, y):
        self.path, self.targets = path, y
    def __len__(self):
        return len(self.targets)
    def __getitem__(self, i):
        return np.fromfile(self.path, np.float32, d, offset=4 * d * i), self.targets[i]

def status(key):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key))
    return 1024 * int(line.split()[1])

training = Training(lr=0.01, batch_size=128)
warm = stream_of([(torch.randn(40, d), [0, 1] * 20)] * 2, "domain")
fit(EWC(1.0, fisher_examples=20), MLP((16,)), warm, training=training)  # whatever torch sets up once
sets, tests = [], []
for t in range(2):
    path, y = folder / f"{t}.npy", np.arange(N) % 2
    sets.append({"map": lambda: (np.memmap(path, np.float32, "r", shape=(N, d)), y), "items": lambda: Items(path, y.tolist()),
                 "memory": lambda: (path, y)}[kind]())
    tests.append((torch.randn(50, d), [0, 1] * 25))
name, of = {"map": ("RLIMIT_DATA", "VmData"), "items": ("RLIMIT_AS", "VmSize"), "memory": ("RLIMIT_DATA", "VmData")}[kind]
limit = status(of) + more
resource.setrlimit(getattr(resource, name), (limit, limit))
try:
    if kind == "memory":
        sets = [(np.fromfile(path, np.float32).reshape(N, d), y) for path, y in sets]
    seen = []
    stream = stream_of(sets, "domain", test=tests, in_memory=False)
    run = fit(EWC(1.0, fisher_examples=200), MLP((16,)), stream, training=training, watch=lambda *_: seen.append(status("RssAnon")))
except (MemoryError, LifelongError) as error:
    print(json.dumps({"error": type(error).__name__}))
else:
    half = seen[len(seen) // 4:]
    print(json.dumps({"accuracy": run.matrix().R[-1].tolist(), "growth": max(half) - min(half), "data": sum(p.stat().st_size for p in folder.iterdir())}))
"""
MORE = 16 * 2**20  # bytes that the process is given


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    """Two tasks of two classes, each five times `MORE` bytes, written a little at a time."""
    import numpy as np

    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    for t in range(2):
        block = rng.normal(size=(512, 1024)).astype(np.float32)
        block[1::2, :8] += 4
        with open(folder / f"{t}.npy", "wb") as file:
            for _ in range(10 * MORE // 2 // block.nbytes):
                file.write(block.tobytes())
    return folder


@pytest.mark.parametrize("kind", ["map", "items", "memory"])
def test_data_ten_times_larger_than_memory(kind: str, data) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, str(data), str(MORE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if kind == "memory":  # the limit is one
        assert found == {"error": "MemoryError"}
        return
    assert found["data"] == 10 * MORE
    assert min(found["accuracy"]) > 0.9
    assert found["growth"] < MORE / 4
