"""Data ten times larger than the memory that the process is given are learnt in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MORE = 24 * 2**20  # bytes that the process is given beyond what it has
SCRIPT = """
import json, resource, sys
from contextlib import contextmanager
from pathlib import Path
import numpy as np
import torch
from torch.utils.data import Dataset, StackDataset
from lifelong import EWC, MLP, Training, fit, stream_of

folder, more = Path(sys.argv[1]), int(sys.argv[2])
N, d = 10 * more // 2 // 4096, 1024
torch.set_num_threads(1)
files = [folder / "0", folder / "1"]

class Items(Dataset):
    def __init__(self, path):
        self.path, self.targets = path, [0, 1] * (N // 2)
    def __len__(self):
        return N
    def __getitem__(self, i):
        return np.fromfile(self.path, np.float32, d, offset=4 * d * i), self.targets[i]

def status(key):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key))
    return 1024 * int(line.split()[1])

@contextmanager
def limited(kind, of):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (status(of) + more, before[1]))
    yield
    resource.setrlimit(kind, before)

def learnt(sets, in_memory=False):
    anonymous = []
    stream = stream_of(sets, "domain", test=[test] * 2, in_memory=in_memory)
    run = fit(EWC(1.0, fisher_examples=200), MLP((16,)), stream, training=Training(lr=0.01, batch_size=128),
              watch=lambda *_: anonymous.append(status("RssAnon")))
    third = len(anonymous) // 3
    return {"accuracy": run.matrix().R[-1].tolist(), "growth": max(anonymous[-third:]) - max(anonymous[third:-third] or [0])}

test = torch.randn(50, d), [0, 1] * 25
test[0][1::2, :8] += 4
for in_memory in (True, False):  # what torch sets up once is no matter of the data
    learnt([StackDataset(*test)] * 2, in_memory)
found = {}
with limited(resource.RLIMIT_DATA, "VmData"):  # a file that is mapped and only read is no data of the process
    found["map"] = learnt([(np.memmap(path, np.float32, "r", shape=(N, d)), [0, 1] * (N // 2)) for path in files])
    try:
        np.fromfile(files[0], np.float32)
        found["all at once"] = "fits"
    except MemoryError:
        found["all at once"] = "MemoryError"
with limited(resource.RLIMIT_AS, "VmSize"):
    found["items"] = learnt([Items(path) for path in files])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two tasks of two classes, each five times `MORE` bytes, written a little at a time."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    block = rng.normal(size=(512, 1024)).astype(np.float32)
    block[1::2, :8] += 4
    for t in range(2):
        with open(folder / str(t), "wb") as file:
            for _ in range(10 * MORE // 2 // block.nbytes):
                file.write(block.tobytes())
    assert sum(p.stat().st_size for p in Path(folder).iterdir()) == 10 * MORE
    command = [sys.executable, "-c", SCRIPT, str(folder), str(MORE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize("kind", ["map", "items"])
def test_data_ten_times_larger_than_memory(kind: str, found: dict[str, Any]) -> None:
    assert min(found[kind]["accuracy"]) > 0.9
    assert found[kind]["growth"] < MORE / 6


def test_the_limit_is_one(found: dict[str, Any]) -> None:
    assert found["all at once"] == "MemoryError"
