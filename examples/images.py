"""Your own images, a folder a task and a folder a class, learnt one task after another by a convolutional network whose lower layers rest
after the first, with augmentation.

Without a folder it draws one: shapes (tasks) that are filled or empty (classes) on a coloured ground.

On a network this small plain replay wins: remembering what arrives at a layer pays where what lies below it is large, or trained before.

    python examples/images.py [FOLDER] [--layer 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import nn

from lifelong import Augment, Finetune, LatentReplay, Replay, Training, chain, fit, from_folder

SHAPES = ("circle", "square", "triangle")


def drawn(folder: Path, each: int = 60, size: int = 24) -> None:
    """Makes ``FOLDER/shape/kind/*.png``."""
    rng = np.random.default_rng(0)
    for task, shape in enumerate(SHAPES, start=1):
        for kind in ("full", "empty"):
            place = folder / f"{task} {shape}" / f"{kind} {shape}"
            place.mkdir(parents=True)
            for i in range(each):
                ground, ink = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
                image = Image.new("RGB", (size, size), tuple(map(int, ground)))
                pen = ImageDraw.Draw(image)
                r = int(rng.integers(5, 9))
                x, y = (int(v) for v in rng.integers(r + 1, size - r - 1, 2))
                colour = tuple(map(int, ink))
                look = {"fill": colour} if kind == "full" else {"outline": colour}
                if shape == "circle":
                    pen.ellipse((x - r, y - r, x + r, y + r), **look)
                elif shape == "square":
                    pen.rectangle((x - r, y - r, x + r, y + r), **look)
                else:
                    pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], **look)
                image.save(place / f"{i:03}.png")


def net(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A small convolutional network, a Sequential: its layers have the names 0, 1, 2, ..."""
    layers: list[nn.Module] = []
    before = shape[0]
    for channels in (16, 32, 32):
        layers += [nn.Conv2d(before, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * before, outputs))


def main() -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--layer", default="3", help="from which on the network learns after the first task")
    parser.add_argument("--slots", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=15)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = said.folder or Path(made)
        if said.folder is None:
            drawn(folder)
        stream = from_folder(folder, size=(24, 24), scenario="class")
    augment = Augment(shift=2)
    training = Training(optimizer="adam", lr=0.003, epochs=said.epochs, batch_size=16)
    found = {}
    for name, method in {
        "fine-tuning": chain(augment, Finetune()),
        "replay": chain(Replay(said.slots), augment),
        "latent replay": chain(augment, LatentReplay(said.slots, said.layer)),
    }.items():
        run = fit(method, net, stream, training=training)
        measured = run.measures(next(iter(run.records)))
        found[name] = measured["acc"]
        print(
            f"{name:14} accuracy {measured['acc']:.3f}, backward transfer {measured['bwt']:+.3f}, memory "
            f"{measured['memory_bytes'] / 1000:.0f} kB, {measured['train_seconds']:.1f} s"
        )
    return found


if __name__ == "__main__":
    main()
