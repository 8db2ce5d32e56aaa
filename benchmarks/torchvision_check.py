"""Models and data sets of torchvision and timm as they come: what was seen in an environment that has both (the library's own has neither).

Each model (random weights, small inputs) is held to: fine-tuning ends on the bits of a plain loop; EWC's exact Fisher is that of one gradient an
example and class in float64; EWC, replay, LwF and latent replay at a named layer learn two tasks; outputs grow. Each data set becomes a stream.

    LIFELONG_DATA=... python benchmarks/torchvision_check.py        2 minutes
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision import datasets
from torchvision.transforms import v2

from harness import Benchmark, say
from lifelong import (
    EWC,
    Finetune,
    LatentReplay,
    Learner,
    LwF,
    Method,
    Replay,
    Stream,
    Task,
    Tensors,
    Training,
    fit,
    stream_of,
)
from lifelong.core.growth import Growth
from lifelong.core.random import generator
from lifelong.nets.growing import grow
from lifelong.parts.fisher import fisher

SIZE, CLASSES = 32, 4
MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {  # and the layer at which latent replay remembers
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=CLASSES), "layer4"),
    "torchvision mobilenet_v3_small": (
        lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES),
        "features.9",
    ),
    "torchvision efficientnet_b0": (lambda: torchvision.models.efficientnet_b0(num_classes=CLASSES), "features.7"),
    "torchvision convnext_tiny": (lambda: torchvision.models.convnext_tiny(num_classes=CLASSES), "features.7"),
    "torchvision VisionTransformer": (
        lambda: torchvision.models.VisionTransformer(SIZE, 8, 3, 4, 48, 96, num_classes=CLASSES),
        "encoder.layers.encoder_layer_2",
    ),
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=CLASSES), "layer4"),
    "timm efficientnet_lite0": (lambda: timm.create_model("efficientnet_lite0", num_classes=CLASSES), "blocks.6"),
    "timm mobilenetv3_small_050": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=CLASSES), "blocks.5"),
    "timm vit_tiny_patch16_224": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=SIZE, depth=4, num_classes=CLASSES),
        "blocks.3",
    ),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name][0]()


def colours() -> Stream:
    """Two tasks of two classes each: noise with more of one colour."""
    g, tasks = torch.Generator().manual_seed(0), []
    for t in range(2):
        y = torch.randint(2, (32,), generator=g) + 2 * t
        x = torch.rand(32, 3, SIZE, SIZE, generator=g)
        x[torch.arange(32), y % 3] += 0.5
        tasks.append(Task(f"pair {t + 1}", Tensors(x, y), Tensors(x, y), (2 * t, 2 * t + 1)))
    return Stream(tuple(tasks), "class", ("a", "b", "c", "d"))


def as_a_plain_loop(name: str, stream: Stream) -> bool:
    """Whether fine-tuning and a loop that anyone would write end on the same bits."""
    training = Training(lr=0.01, momentum=0.9, batch_size=8, outputs="all")
    learner = Learner(made(name), Finetune(), training, scenario="class")
    random = learner.random
    learner.learn(stream[0])
    net = made(name)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    net.train()
    torch.set_rng_state(random)  # dropout, stochastic depth
    order = torch.randperm(32, generator=generator(0, "order/0/0/0"))
    for index in order.split(8):
        optimizer.zero_grad()
        F.cross_entropy(net(stream[0].train.x[index]), stream[0].train.y[index]).backward()
        optimizer.step()
    ours = learner.net.state_dict()
    return all(torch.equal(ours[k], v) for k, v in net.state_dict().items())


def fisher_error(name: str, stream: Stream) -> float:
    """The largest difference from Σ_c p_c (∂ log p_c / ∂θ)², one backward pass an example and class, over the largest entry."""
    learner = Learner(made(name), EWC(), Training(), scenario="class", dtype=torch.float64)
    few = Tensors(stream[0].train.x[:3].double(), stream[0].train.y[:3])
    found = fisher(learner.context(few, None), "exact")
    net, theta = learner.net.eval(), learner.theta
    total = [torch.zeros_like(p) for p in theta.tensors]
    for x in few.x:
        log_p = net(x[None]).log_softmax(1)[0]
        for c in range(CLASSES):
            grads = torch.autograd.grad(log_p[c], theta.tensors, retain_graph=True, materialize_grads=True)
            for t, g in zip(total, grads):
                t += log_p[c].exp().detach() * g**2 / len(few)
    largest = max(float(t.max()) for t in total)
    return max(float((a - b).abs().max()) for a, b in zip(found.tensors, total)) / largest


def learns(name: str, method: Method, stream: Stream) -> float:
    run = fit(method, made(name), stream, training=Training(lr=0.01, momentum=0.9, batch_size=8, epochs=2))
    assert all(v == v for v in run.matrix().R[1:].flatten())
    return run.matrix().acc


def grows(name: str) -> bool:
    """Whether two more outputs leave the others as they are."""
    net, x = made(name).eval(), torch.rand(2, 3, SIZE, SIZE)
    before: Tensor = net(x)
    grow(net, Growth("outputs", size=CLASSES + 2))
    after: Tensor = net(x)
    return after.shape == (2, CLASSES + 2) and torch.allclose(before, after[:, :CLASSES], atol=1e-5)


def data_sets(folder: Path) -> dict[str, str]:
    """Streams of torchvision's data sets: what each came to."""
    found = {}
    as_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    augmented = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(16, padding=2), as_tensor])
    for task in range(2):
        for kind in range(2):
            place = folder / f"task{task}" / f"kind{2 * task + kind}"
            place.mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (16, 16), (40 * i, 200 * kind, 100 * task)).save(place / f"{i}.png")
    sets = {
        "FakeData": ([datasets.FakeData(40, (3, 16, 16), 4, as_tensor, random_offset=o) for o in (0, 1)], {}),
        "ImageFolder": (
            [
                datasets.ImageFolder(str(folder / f"task{t}"), as_tensor, target_transform=lambda c, t=t: c + 2 * t)
                for t in range(2)
            ],
            {},
        ),
        "ImageFolder, augmented, read as needed": (
            [
                datasets.ImageFolder(str(folder / f"task{t}"), augmented, target_transform=lambda c, t=t: c + 2 * t)
                for t in range(2)
            ],
            {"in_memory": False},
        ),
    }
    mnist = folder / "MNIST" / "raw"
    mnist.mkdir(parents=True)
    for file in (Path(os.environ["LIFELONG_DATA"]) / "mnist").glob("*.gz"):
        (mnist / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    whole = datasets.MNIST(str(folder), train=True, transform=as_tensor)
    chosen = [
        torch.utils.data.Subset(whole, ((whole.targets // 5) == t).nonzero().flatten()[:200].tolist()) for t in range(2)
    ]
    sets["MNIST, two Subsets"] = (chosen, {})
    for name, (parts, options) in sets.items():
        stream = stream_of(parts, scenario="class", test=0.25, **options)
        kept = type(stream[0].train).__name__
        net = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(stream.shape).prod()), stream.outputs))
        run = fit(Replay(20), net, stream, training=Training(lr=0.1, epochs=2, batch_size=16))
        found[name] = (
            f"{len(stream)} tasks, inputs {list(stream.shape)}, {stream.outputs} classes, {kept}, ACC {run.matrix().acc:.2f}"
        )
        say(name, found[name])
    return found


def main() -> None:
    bench = Benchmark("torchvision", __doc__)
    torch.set_num_threads(1)
    stream = colours()
    table = {}
    for name, (_, layer) in MODELS.items():
        began = time.perf_counter()
        methods = {"ewc": EWC(1.0), "replay": Replay(16), "lwf": LwF(), "latent replay": LatentReplay(16, layer)}
        table[name] = {
            "parameters": sum(p.numel() for p in made(name).parameters()),
            "layer": layer,
            "plain_loop": as_a_plain_loop(name, stream),
            "fisher": fisher_error(name, stream),
            "grows": grows(name),
            "acc": {m: learns(name, method, stream) for m, method in methods.items()},
        }
        say(name, table[name], f"{time.perf_counter() - began:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        found = data_sets(Path(folder))
    versions = {"torchvision": torchvision.__version__, "timm": timm.__version__}
    bench.save(1, models=table, data_sets=found, others=versions)


if __name__ == "__main__":
    main()
