"""Where a system lacks what Linux has: locks, groups of processes, links that are not followed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from lifelong.core import system
from lifelong.core.errors import RunError
from lifelong.core.files import locked
from lifelong.core.system import locked_here, open_plain, running
from lifelong.runs import lease as claims
from lifelong.runs.heartbeat import FRESH, LOST, alive
from lifelong.runs.lease import leased

# Python reads it when it starts, in every process. What is taken away is what Windows has not got; what is left of `kill` ends a process.
BARE = """
import os, signal, sys

sys.modules["fcntl"] = None  # to import it is an ImportError
for name in ("pread", "pwrite", "setpgid", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY"):
    delattr(os, name)

real = os.kill

def kill(number, what):
    if what not in (signal.SIGTERM, signal.SIGKILL):
        raise AssertionError(f"signal {what} would end the process on Windows")
    real(number, what)

os.kill = kill
"""
SMALL = ["--stream", "turning", "--stream.tasks", "2", "--stream.examples", "100", "--epochs", "1", "--seeds", "2"]


def lifelong(*arguments: str, bare: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lifelong", *arguments],
        env={**os.environ, "PYTHONPATH": str(bare)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_run_without_what_only_posix_has(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    run = tmp_path / "run"
    lifelong("run", *SMALL, "--method", "ewc", "--jobs", "2", "--out", str(run), bare=tmp_path)
    assert (run / "report.html").exists()
    assert "is finished" in lifelong("resume", str(run), bare=tmp_path)


def no_locks(handle: int, *, blocking: bool) -> bool:
    raise OSError(errno.ENOSYS, "not implemented")


def test_without_locks_the_claim_alone_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelock, "lock_descriptor", no_locks)
    monkeypatch.setattr(claims, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(claims, "LEASE_SECONDS", 1.0)
    with locked(tmp_path) as sure:
        assert not sure
    with leased(tmp_path) as lease:
        with pytest.raises(RunError, match="in use"), leased(tmp_path):
            pass
        assert lease.held
        text = lease.text
    (tmp_path / ".owner").write_text(text)  # as if its process had been killed: of this machine, and touched no more
    began = time.monotonic()
    with leased(tmp_path) as lease:
        assert lease.held
    assert time.monotonic() - began > 0.9  # it may have been alive


def test_what_else_a_lock_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int, *, blocking: bool) -> bool:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(filelock, "lock_descriptor", broken)
    with pytest.raises(RunError, match=r"cannot write .*input/output error"), locked(tmp_path):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from lifelong.core.files import locked\nwith locked(Path(sys.argv[1])):\n    print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            with pytest.raises(RunError, match="in use"), locked(tmp_path):
                pass
        finally:
            holder.kill()
        holder.wait()
        with locked(tmp_path) as sure:
            assert sure


def test_locks_are_those_of_earlier_releases(tmp_path: Path) -> None:
    """A run of an earlier release that is at work keeps its folder."""
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "file").open("w") as one, (tmp_path / "file").open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        assert locked_here(other.fileno()) is False
        fcntl.flock(one, fcntl.LOCK_UN)
        assert locked_here(other.fileno()) is True


def test_nobody_is_asked_with_a_signal_that_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    assert running(me) is True
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        other.wait()
        assert running(other.pid) is False
    beat = {"time": 0.0, "pid": other.pid, "host": os.uname().nodename}
    assert not alive(beat, FRESH + 1)

    def kill(pid: int, signal: int) -> None:
        raise AssertionError("it would have ended")

    monkeypatch.setattr(system, "os", SimpleNamespace(name="nt", kill=kill))
    assert running(me) is None
    assert alive(beat, FRESH + 1)  # its age alone decides
    assert not alive(beat, LOST + 1)


@pytest.mark.parametrize("knows", [True, False])
def test_a_link_is_not_followed(knows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("a\r\nb")
    link.symlink_to(file)
    if not knows:
        monkeypatch.delattr(os, "O_NOFOLLOW")
    with pytest.raises(OSError, match="symbolic links"):
        open_plain(link)
    with os.fdopen(open_plain(file), "rb") as opened:
        assert opened.read() == b"a\r\nb"
