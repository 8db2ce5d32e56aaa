"""Several processes that learn one network together give what one gives; and the ways in which a loop may take its steps."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.multiprocessing
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import own_loops
from lifelong import (
    EWC,
    GEM,
    L2,
    MAS,
    SI,
    Finetune,
    Learner,
    LwF,
    Method,
    MethodError,
    Replay,
    Training,
    chain,
    protect,
)
from lifelong.core.contexts import TaskContext
from lifelong.core.objective import Classification
from lifelong.core.ranks import Ranks
from lifelong.core.registry import METHODS
from lifelong.core.segments import Batch, Segment
from toys import same, toy_net, toy_stream, weights

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ddp.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


# --- two are one ------------------------------------------------------------------------------------------------------
def test_two_ranks_give_what_one_gives(tmp_path: Path) -> None:
    """Every method that claims it: in a loop with `DistributedDataParallel`, and in the library's own."""
    two = torch.multiprocessing.spawn(own_loops.one_of, (2, tmp_path), nprocs=2, join=False)
    alone = own_loops.everything(tmp_path / "alone")
    while not two.join():
        pass
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert (tmp_path / "run" / "summary.json").exists()
    for found in (first, second):
        assert "ranks with the seeds [0, 1] would draw differently" in found["refused"]
        assert "ewc needs each weight whole" in found["refused"]
        assert "DTensor" in found.pop("refused")
        x, y, A = found.pop("scarce")
        assert x.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]]
        assert y.tolist() == [3]
        assert float(A.sum()) > 0
    apart = {key: float((first[key] - alone[key]).abs().max()) for key in alone}
    for key, distance in apart.items():
        print(f"{distance:.1e}  {key}")
    assert {key.split("/")[1] for key in alone} == {name for name, entry in METHODS.items() if entry.ranks}
    idle = [k for k in alone if k.startswith("loop") and torch.equal(alone[k], alone["loop/finetune/0"])]
    assert idle == ["loop/finetune/0"]  # the others do something
    assert first.keys() == alone.keys()
    assert [key for key in alone if not torch.equal(first[key], second[key])] == []  # the ranks are in step bit for bit
    assert {key: d for key, d in apart.items() if not d < (1e-3 if key.startswith("float32") else 1e-6)} == {}


def test_the_list_says_which() -> None:
    for name, entry in METHODS.items():
        method = entry.load()()
        assert entry.ranks == method.traits.ranks, name
        assert entry.portable == method.portable, name


@dataclass(frozen=True)
class Unsaid(Method):
    """Says nothing about ranks."""

    name: ClassVar[str] = "unsaid"

    def end(self, state: None, context: TaskContext) -> None:
        return None


def test_what_several_ranks_refuse() -> None:
    two = Ranks(0, 2)
    stream = toy_stream("domain")
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for method in (Unsaid(), chain(L2(), Unsaid()), EWC(importance="sampled")):
        with pytest.raises(MethodError, match=r"not known to give on 2 ranks.*lifelong methods"):
            protect(net, optimizer, method, ranks=two)
    with pytest.raises(MethodError, match="not known to give on 2 ranks"):
        Learner(net, Unsaid(), ranks=two)
    protect(net, optimizer, Finetune(), ranks=two)
    protect(net, optimizer, Unsaid())


def test_a_batch_is_shared_out() -> None:
    """Losses of the parts have the loss of the whole as their mean, weights and earlier answers included; what cannot be shared out evenly is
    whole."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(16, 4, generator=draws, dtype=torch.float64)
    y = torch.randint(3, (16,), generator=draws)
    teacher = torch.randn(4, 3, generator=draws, dtype=torch.float64)
    held = torch.tensor([[True, True, False], [True, False, True], [True, True, True], [True, True, True]])
    batch = Batch((Segment(x[:6], y[:6]),)).plus(Segment(x[6:8], y[6:8]))
    batch = batch.plus(Segment(x[8:12], y[8:12], teacher=teacher, held=held), weight=0.0)
    batch = batch.scaled(0.3).plus(Segment(x[12:], y[12:]), weight=0.7)
    parts = [batch.part(Ranks(rank, 2)) for rank in range(2)]
    for rank, part in enumerate(parts):
        assert part.sizes == [3, 1, 2, 2]
        assert torch.equal(part.new.x, x[3 * rank : 3 * rank + 3])
        assert [s.weight for s in part.segments] == [s.weight for s in batch.segments]
        assert torch.equal(part.segments[2].teacher, teacher[rank::2])
        assert torch.equal(part.segments[2].held, held[rank::2])
    assert sorted(torch.cat([part.x for part in parts])[:, 0].tolist()) == sorted(x[:, 0].tolist())
    W = torch.randn(4, 3, generator=draws, dtype=torch.float64)

    def squares(batch: Batch) -> float:
        """What DER holds: the mean over the outputs that stand for something."""
        segment, h = next((s, f) for s, f in batch.parts(batch.x @ W) if s.teacher is not None)
        return float(((h - segment.teacher).square() * segment.held).sum() / segment.held.sum())

    for loss in (lambda b: float(b.loss(Classification(), b.x @ W)), squares):
        assert sum(map(loss, parts)) / 2 == pytest.approx(loss(batch), rel=1e-12)
    uneven = held.clone()
    uneven[0, 2] = True
    odd = [
        Batch((Segment(x[:5], y[:5]), *batch.segments[1:])),  # of the new examples
        Batch((*batch.segments[:3], Segment(x[:3], y[:3]))),  # of others
        batch.mapped(lambda s: s if s.held is None else s._replace(held=uneven)),  # of the outputs that are held
    ]
    for whole in odd:
        assert whole.part(Ranks(0, 2)) is whole
    assert batch.part(Ranks()) is batch


# --- what may happen to one of them -----------------------------------------------------------------------------------
TWICE = """
import os, runpy, signal, sys
from lifelong.loops.guard import Guard
example, whole, killed, os.environ["MASTER_PORT"], port = sys.argv[1:]
sys.argv = [example, "--out", whole]
runpy.run_path(example, run_name="__main__")
real, count = Guard.mix, 0
def mix(self, x, y):
    global count
    count += 1
    if os.environ["RANK"] == "1" and count == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, x, y)
Guard.mix = mix
os.environ["MASTER_PORT"] = port
sys.argv = [example, "--out", killed]
runpy.run_path(example, run_name="__main__")
"""


@pytest.mark.slow
def test_the_example_killed_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of two processes is killed: the other says so and ends; started again they end on the bits of two that nobody touched, and say what
    one says alone."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    there = {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        ports = [str(free.getsockname()[1]) for free in (first, second)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", TWICE, str(EXAMPLE), str(whole), str(killed), *ports],
            env={**ENVIRONMENT, **there, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300) for process in ranks]
    assert ranks[1].returncode == -signal.SIGKILL, said[1][1]
    assert ranks[0].returncode == 1
    assert "RunError: another rank is gone" in said[0][1] or "Connection closed by peer" in said[0][1], said[0][1]
    saved = torch.load(killed / "last.pt")
    assert (saved["task"], saved["step"]) == (0, 60)

    call = [*TORCHRUN, str(EXAMPLE), "--out", str(killed)]
    resumed = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == said[0][0]
    ends = [torch.load(folder / "last.pt") for folder in (whole, killed)]
    assert same(ends[0]["model"], ends[1]["model"])
    assert same(ends[0]["guard"]["tensors"], ends[1]["guard"]["tensors"])
    sys.argv, argv = [str(EXAMPLE)], sys.argv
    try:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    finally:
        sys.argv = argv
    alone, together = (
        [float(line.split(": ")[1]) for line in text.splitlines()] for text in (capsys.readouterr().out, said[0][0])
    )
    assert alone == pytest.approx(together, abs=0.003)
    assert min(alone) > 0.6


@pytest.mark.slow
def test_accelerate_launch(tmp_path: Path) -> None:
    """With accumulation, through accelerate's wrappers, two processes end where one does that takes the whole batch at once."""
    call = [str(Path(sys.executable).with_name("accelerate")), "launch", "--multi_gpu", "--num_processes", "2"]
    call += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    script = [str(ROOT / "tests" / "accelerated.py"), str(tmp_path / "two.pt")]
    done = subprocess.run([*call, *script], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "two.pt")
    assert two["ranks"] == 2
    one = own_loops.guarded(own_loops.BOTH)
    assert float((two["weights"] - one).abs().max()) < 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # these libraries' own
def test_other_peoples_trainers(tmp_path: Path) -> None:
    """transformers.Trainer and lightning.Trainer with their callbacks: two processes end where one does."""
    import trained

    script = [str(ROOT / "tests" / "trained.py"), str(tmp_path / "two"), str(tmp_path / "two.pt")]
    process = subprocess.Popen([*TORCHRUN, *script], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    one = trained.everything(tmp_path / "one")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()[-5000:]
    two = torch.load(tmp_path / "two.pt")
    assert {k: d for k in one if not (d := float((one[k] - two[k]).abs().max())) < 1e-9} == {}
    assert len(one) == len(two)
    for key, weight in one.items():
        library, method, name = key.split("/")
        if method != "finetune" and name.endswith("weight") and "classifier" in name:
            assert not torch.equal(weight, one[f"{library}/finetune/{name}"])


# --- how a loop takes its steps ---------------------------------------------------------------------------------------
def stepped(method: Method, way: str, **options: Any) -> dict[str, Tensor]:
    """The weights after two tasks in a loop that takes its steps in this way."""
    stream = toy_stream("domain", tasks=2)
    net = toy_net(stream.outputs)
    model: nn.Module = net
    if way == "compile":
        model = torch.compile(net, backend="eager")  # type: ignore[assignment]
    if way == "compile in place":
        net.compile(backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=way == "fused")
    guard = protect(model, optimizer, method, **options)
    scaler = torch.amp.GradScaler("cpu", enabled=way in ("scaler", "fused"))
    pieces = 4 if way == "accumulate" else 1
    for task in stream:
        for rows in torch.arange(len(task.train)).repeat(2).split(16):
            optimizer.zero_grad()
            for part in rows.chunk(pieces):
                with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in way):
                    batch = guard.mix(task.train.x[part], task.train.y[part])
                    loss = guard.loss(model(batch.x), batch)
                scaler.scale(loss / pieces).backward()
            scaler.step(optimizer)
            scaler.update()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast all over"):
            guard.consolidate(DataLoader(TensorDataset(task.train.x, task.train.y), batch_size=10))
    return weights(net)


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[k] - b[k]).abs().max()) for k in a)


PLAIN = [EWC(5.0), MAS(0.1), SI(1.0), LwF(), GEM(24), chain(L2(0.1), Replay(40)), METHODS["agem"].load()(40)]


@pytest.mark.parametrize("method", PLAIN, ids=lambda m: m.name)
def test_a_step_after_several_batches(method: Method) -> None:
    """Gradients of four quarters, then one step: what one step with the whole batch gives; memories hold all four."""
    assert apart(stepped(method, "accumulate"), stepped(method, "whole")) < 1e-4


@pytest.mark.parametrize("method", PLAIN, ids=lambda m: m.name)
def test_a_compiled_model(method: Method) -> None:
    plain = stepped(method, "plain")
    assert apart(stepped(method, "compile"), plain) < 1e-5
    assert apart(stepped(method, "compile in place"), plain) < 1e-5


@pytest.mark.parametrize("method", PLAIN, ids=lambda m: m.name)
def test_mixed_precision(method: Method) -> None:
    """Near to single precision; and the end of a task is in single precision wherever it is called."""
    plain, mixed = stepped(method, "plain"), stepped(method, "autocast")
    assert 0 < apart(mixed, plain) < 0.15
    assert same(mixed, stepped(method, "autocast all over"))


class Casting(nn.Sequential):
    """Runs in half precision by itself, as accelerate and Lightning make a model do."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


def test_importance_of_a_model_that_casts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rules of its layers, not one example after another; near to that in single precision."""
    stream = toy_stream("domain", tasks=1)
    monkeypatch.setattr("lifelong.parts.sensitivity._by_func", None)
    found = []
    for kind in (nn.Sequential, Casting):
        net = kind(*toy_net(stream.outputs))
        guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), EWC(1.0))
        guard.begin()
        guard.consolidate(stream[0].train)
        assert guard.state.A.tensors[0].dtype == torch.float32
        found.append(guard.state.A.flat())
    torch.testing.assert_close(found[0], found[1], rtol=0.1, atol=0.01 * float(found[0].max()))
    assert not torch.equal(*found)


@pytest.mark.parametrize("method", PLAIN, ids=lambda m: m.name)
def test_a_scaler_divides_before_the_method_sees(method: Method) -> None:
    assert apart(stepped(method, "scaler"), stepped(method, "plain")) < 1e-5
    with pytest.raises(MethodError, match="fused=False"):
        stepped(method, "fused")


@pytest.mark.parametrize("method", [EWC(50.0), SI(1.0), chain(L2(0.1), Replay(40))], ids=lambda m: m.name)
def test_clipped_as_in_the_librarys_loop(method: Method) -> None:
    stream = toy_stream("domain", tasks=2)
    training = Training(lr=0.1, momentum=0.9, batch_size=16, epochs=1, clip=0.5)
    learner = Learner(toy_net(stream.outputs), method, training, scenario="domain")
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    guard = protect(net, optimizer, method, clip=0.5)
    for task in stream:
        learner.learn(task)
        for rows in own_loops.order(len(task.train), task.index).split(16):
            batch = guard.mix(task.train.x[rows], task.train.y[rows])
            optimizer.zero_grad()
            guard.loss(net(batch.x), batch).backward()
            optimizer.step()
        guard.consolidate(task.train)
    assert same(weights(learner.net), weights(net))
    assert apart(weights(net), stepped(method, "plain")) > 0.01


def test_a_loader_that_shuffles_gives_whole_classes() -> None:
    """Each class has its share of exemplars whatever the order in which a loader comes round again."""
    stream = toy_stream("domain", tasks=1)
    net = toy_net(stream.outputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    guard = protect(net, optimizer, Replay(12, fill="random"))
    guard.begin()
    loader = DataLoader(TensorDataset(stream[0].train.x, stream[0].train.y), batch_size=10, shuffle=True)
    guard.consolidate(loader)
    assert guard.state.memory.slots["y"][:12].bincount().tolist() == [4, 4, 4]


def test_what_is_met_without_gradients_is_not_remembered() -> None:
    stream = toy_stream("domain", tasks=1)
    net = toy_net(stream.outputs)
    guard = protect(net, torch.optim.SGD(net.parameters(), lr=0.1), Replay(40))
    x, y = stream[0].train.x, stream[0].train.y
    for _ in range(2):
        with torch.no_grad():
            batch = guard.mix(x, y)
            guard.loss(net(batch.x), batch)
        batch = guard.mix(x[:8], y[:8])
        guard.loss(net(batch.x), batch).backward()
        guard.optimizer.step()
    assert guard.state.memory.seen == 16
    guard.mix(x, y)
    with pytest.raises(MethodError, match=r"guard\.loss"):
        guard.optimizer.step()
