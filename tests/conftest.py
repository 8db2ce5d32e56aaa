"""What every test stands on: one thread, no network, repeatable examples, and real data where there are any."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from lifelong.core.registry import METHODS, NETS, STREAMS

ROOT = Path(__file__).parents[1]
LAY_OUT = ROOT.parent / "shared" / "tools" / "lay_out_data.py"

torch.set_num_threads(1)  # the networks here are too small for two, and results depend on the number
settings.register_profile("lifelong", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lifelong")
for table in (METHODS, NETS, STREAMS):  # the package's own: plug-ins that happen to be installed have tests of theirs
    vars(table)["entries"] = dict(table._own())


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Nothing in this process reaches another machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        if inet and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests use no network; something asked for {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real data laid out as the canonical downloads unpack (all but CIFAR-100): `LIFELONG_DATA`, or one
    laid out here once a session."""
    return _given() or _lay_out(tmp_path_factory.mktemp("data"), "mnist", "babi", "text")


@pytest.fixture(scope="session")
def real_cifar100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with CIFAR-100 only, apart because it takes ten seconds to lay out."""
    given = _given()
    if given and not (given / "cifar-100-binary").exists():
        pytest.skip(f"no cifar-100-binary in LIFELONG_DATA={given}")
    return given or _lay_out(tmp_path_factory.mktemp("cifar100"), "cifar100")


def _given() -> Path | None:
    given = os.environ.get("LIFELONG_DATA")
    return Path(given).resolve() if given else None


def _lay_out(dest: Path, *parts: str) -> Path:
    if not LAY_OUT.exists():
        pytest.skip("real data are needed: set LIFELONG_DATA to the folder that holds them")
    calls = "; ".join(f"lay_out_data.{part}(Path(sys.argv[2]))" for part in parts)
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import lay_out_data; {calls}"
    subprocess.run([sys.executable, "-B", "-c", code, str(LAY_OUT.parent), str(dest)], check=True)
    return dest
