"""Permuted MNIST, learned task by task with avalanche-lib 0.6.0.

One run is one job. It trains a ReLU MLP with a single head over a sequence of permuted tasks with
one of Avalanche's own strategies, evaluates every test task after every training task, and prints
one JSON object as the last line of stdout. Everything else, Avalanche's own prints included, goes
to stderr.

The script stands alone: run it with the Python of an environment that has avalanche-lib, as
``benchmarks/peers.py`` does, or by hand::

    python benchmarks/peers_avalanche.py --data FILE.npz --method ewc --strength 10

FILE.npz holds ``x_train`` (uint8, [N, 784]), ``y_train`` (int64, [N]), ``x_test``, ``y_test`` and
``permutations`` (int64, [T, 784]); the images of task t are ``x[:, permutations[t]] / 255``.

With ``--benchmark tensors`` each task's images are made beforehand as float32 tensors, so the
training times hold no permuting or scaling: Avalanche's best case. That benchmark is built with
``benchmark_from_datasets`` from plain ``AvalancheDataset`` objects, without task labels: Avalanche
then trains from PyTorch's own DataLoader rather than from its task-balanced one. With
``--benchmark classic`` it is Avalanche as it comes: its own ``PermutedMNIST`` of ``--root``
(torchvision's layout) with its own transforms, which normalise and permute an image when it is read,
and its own default evaluator and logger. The permutations come from
``numpy.random.RandomState(0)``, and FILE.npz must hold the same.

``--strength`` goes to ``ewc_lambda``, ``si_lambda`` or ``lambda_reg`` as it is; ``finetune`` does
not use it. The three scales differ, and differ from the papers' (Avalanche's EWC squares the
gradients of mini-batch means, and its penalty has no factor 1/2). All other settings of a
strategy keep Avalanche's defaults.

On a CPU, Avalanche 0.6.0's Synaptic Intelligence does its bookkeeping but holds nothing back: it
keeps "copies" of the parameters with ``detach().cpu().flatten()``, which there are views of the
parameters themselves, so every path integral and every importance is zero and the accuracies are
those of ``finetune`` at any strength. It is run here as it is released: its seconds can be
compared, its accuracies are no measure of the method.

A strength too large for the learning rate makes training diverge; a line on stderr then says that
the network is not finite, and its accuracies are those of a constant answer.

In the output, ``R[i][j]`` is the accuracy on test task j after training on task i;
``train_seconds[i]`` is one ``strategy.train`` call, with what the strategy computes after the
task (EWC's and MAS's importances, say); ``eval_seconds[i]`` is one ``strategy.eval`` call over
all T test tasks; ``import_seconds`` is the import of NumPy, PyTorch and Avalanche; and
``build_seconds`` is reading the file and making tensors, benchmark, network and strategy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from avalanche.benchmarks import CLScenario
    from avalanche.training.templates import SupervisedTemplate

METHODS = ("finetune", "ewc", "si", "mas", "replay", "derpp", "gem", "agem", "lwf", "generative_replay", "icarl")
CLASSES = 10
EVAL_BATCH_SIZE = 512


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Permuted MNIST with avalanche-lib: one job, one JSON object on stdout."
    )
    parser.add_argument("--data", required=True, metavar="FILE.npz", help="images and permutations")
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate of plain SGD")
    parser.add_argument("--strength", type=float, help="the method's own lambda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's intra-op threads")
    parser.add_argument("--epochs", type=int, default=1, help="epochs for each task")
    parser.add_argument("--benchmark", choices=("tensors", "classic"), default="tensors")
    parser.add_argument("--root", help="the folder of MNIST/raw, for --benchmark classic")
    parser.add_argument("--hidden", default="256,256", help="hidden sizes, separated by commas")
    arguments = parser.parse_args()
    if arguments.method in ("ewc", "si", "mas", "lwf") and arguments.strength is None:
        parser.error(f"--method {arguments.method} needs --strength")
    return arguments


def make_network(inputs: int, hidden: list[int]) -> torch.nn.Sequential:
    """Make an MLP of Linear and ReLU layers with one output for each class."""
    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()]
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU()]
        inputs = size
    layers.append(nn.Linear(inputs, CLASSES))
    return nn.Sequential(*layers)


def make_benchmark(path: str) -> CLScenario:
    """Read the file and make one train and one test experience for each permutation."""
    import numpy as np
    import torch
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import AvalancheDataset
    from torch.utils.data import TensorDataset

    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    permutations = torch.from_numpy(arrays["permutations"])
    streams: dict[str, list[AvalancheDataset]] = {}
    for stream in ("train", "test"):
        images = torch.from_numpy(arrays[f"x_{stream}"]).to(torch.float32).div_(255)
        labels = torch.from_numpy(arrays[f"y_{stream}"]).to(torch.int64)
        streams[stream] = [
            AvalancheDataset([TensorDataset(images[:, permutation], labels)]) for permutation in permutations
        ]
    return benchmark_from_datasets(**streams)


def make_classic(root: str, permutations: np.ndarray) -> CLScenario:
    """Make Avalanche's own PermutedMNIST, and make sure that its permutations are ours."""
    import numpy as np
    from avalanche.benchmarks.classic import PermutedMNIST

    draws = np.random.RandomState(0)
    if not all((draws.permutation(784) == permutation).all() for permutation in permutations):
        raise SystemExit("--benchmark classic: the file's permutations are not those of RandomState(0)")
    return PermutedMNIST(len(permutations), seed=0, dataset_root=root)


def make_strategy(arguments: argparse.Namespace, network: torch.nn.Sequential) -> SupervisedTemplate:
    """Make the strategy; for tensors with accuracy for each experience as its only metric."""
    import torch
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import (
        AGEM,
        DER,
        EWC,
        GEM,
        MAS,
        GenerativeReplay,
        ICaRL,
        LwF,
        Naive,
        Replay,
        SynapticIntelligence,
    )

    common: dict[str, Any] = {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=arguments.lr),
        "criterion": torch.nn.CrossEntropyLoss(),
        "train_mb_size": arguments.batch_size,
        "train_epochs": arguments.epochs,
        "eval_mb_size": EVAL_BATCH_SIZE,
        "device": "cpu",
    }
    if arguments.benchmark == "tensors":
        common["evaluator"] = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
    if arguments.method == "ewc":
        return EWC(ewc_lambda=arguments.strength, mode="separate", **common)
    if arguments.method == "si":
        return SynapticIntelligence(si_lambda=arguments.strength, **common)
    if arguments.method == "mas":
        return MAS(lambda_reg=arguments.strength, **common)
    if arguments.method == "replay":
        return Replay(mem_size=500, **common)
    if arguments.method == "derpp":
        return DER(mem_size=500, batch_size_mem=arguments.batch_size, alpha=0.5, beta=0.5, **common)
    if arguments.method == "gem":
        return GEM(patterns_per_exp=256, memory_strength=0.5, **common)
    if arguments.method == "agem":
        return AGEM(patterns_per_exp=256, sample_size=256, **common)
    if arguments.method == "lwf":
        return LwF(alpha=arguments.strength, temperature=2.0, **common)
    if arguments.method == "generative_replay":
        return GenerativeReplay(**common)
    if arguments.method == "icarl":
        del common["model"], common["criterion"]
        body, head = network[:-1], network[-1]
        return ICaRL(
            feature_extractor=body,
            classifier=head,
            memory_size=2000,
            buffer_transform=None,
            fixed_memory=True,
            **common,
        )
    return Naive(**common)


def learn(strategy: SupervisedTemplate, benchmark: CLScenario) -> tuple[list[float], list[float], list[list[float]]]:
    """Train task by task and evaluate every test task after each: the seconds of both, and R."""
    tasks = len(benchmark.train_stream)
    train_seconds: list[float] = []
    eval_seconds: list[float] = []
    accuracies: list[list[float]] = []
    for experience in benchmark.train_stream:
        start = time.perf_counter()
        strategy.train(experience, num_workers=0)
        train_seconds.append(time.perf_counter() - start)

        start = time.perf_counter()
        metrics = strategy.eval(benchmark.test_stream, num_workers=0)
        eval_seconds.append(time.perf_counter() - start)
        found = {k[-6:]: v for k, v in metrics.items() if k.startswith("Top1_Acc_Exp/eval_phase/test_stream/")}
        accuracies.append([found[f"Exp{j:03}"] for j in range(tasks)])
    return train_seconds, eval_seconds, accuracies


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do the whole job and return what is to be printed."""
    start = time.perf_counter()
    import avalanche
    import avalanche.benchmarks
    import avalanche.evaluation.metrics
    import avalanche.training.supervised
    import numpy as np
    import torch

    import_seconds = time.perf_counter() - start

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    start = time.perf_counter()
    if arguments.method == "icarl":
        from avalanche.benchmarks.classic import SplitMNIST

        benchmark = SplitMNIST(
            5, return_task_id=False, fixed_class_order=list(range(CLASSES)), dataset_root=arguments.root
        )
    elif arguments.benchmark == "classic":
        with np.load(arguments.data) as archive:
            permutations = archive["permutations"]
        benchmark = make_classic(arguments.root, permutations)
    else:
        benchmark = make_benchmark(arguments.data)
    inputs = benchmark.train_stream[0].dataset[0][0].numel()
    network = make_network(inputs, [int(size) for size in arguments.hidden.split(",")])
    strategy = make_strategy(arguments, network)
    build_seconds = time.perf_counter() - start

    train_seconds, eval_seconds, accuracies = learn(strategy, benchmark)
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        print("training diverged: the network is not finite", file=sys.stderr)

    return {
        "import_seconds": import_seconds,
        "build_seconds": build_seconds,
        "train_seconds": train_seconds,
        "eval_seconds": eval_seconds,
        "R": accuracies,
        "versions": {
            "avalanche": avalanche.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
        "method": arguments.method,
        "batch_size": arguments.batch_size,
    }


def main() -> None:
    """Run the job with stdout kept for the result."""
    arguments = parse_arguments()
    with contextlib.redirect_stdout(sys.stderr):
        result = run(arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
