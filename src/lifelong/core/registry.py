"""What there is by name: methods, streams, networks. Nothing is imported until it is asked for.

The package's methods are found in their files (`lifelong.core.method_index`). Other packages add theirs by entry points of the groups
``lifelong.methods``, ``lifelong.nets`` and ``lifelong.streams``. What has no name is named by where its code is (`lifelong.core.code`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

from .errors import MethodError, nearest, warn

__all__ = ["METHODS", "NETS", "STREAMS", "Entry", "Table", "find"]


@final
@dataclass(frozen=True)
class Entry:
    """One thing that has a name on the command line.

    Args:
        target: ``module:attribute``.
        summary: what it is, in a line.
        source: its paper.
        defaults: of a stream those of a run on it: its network and its training.
        scenarios: those that a method runs in.
        portable: whether a method works inside somebody's own training loop.
        ranks: whether a method gives on several processes what it gives on one.
        package: the distribution that it comes with, where that is another.
    """

    target: str
    summary: str
    source: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scenarios: tuple[str, ...] = ("task", "domain", "class")
    portable: bool = False
    ranks: bool = False
    package: str = ""

    def load(self) -> Any:
        """The class or function itself."""
        from . import code

        return code.load(self.target)

    def takes(self, name: str) -> bool:
        """Whether it has an option of that name."""
        return name in inspect.signature(self.load()).parameters


@final
class Table(Mapping[str, Entry]):
    """The entries of one kind by name: the package's own, and those of installed packages.

    Args:
        kind: "method", "net" or "stream".
        own: gives the package's own.
    """

    def __init__(self, kind: str, own: Callable[[], Mapping[str, Entry]]) -> None:
        self.kind = kind
        self._own = own

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """All of them; a name that the package has is the package's."""
        from importlib.metadata import entry_points

        found = dict(self._own())
        for point in sorted(entry_points(group=f"lifelong.{self.kind}s"), key=lambda p: (p.name, p.value)):
            package = "unknown" if point.dist is None else point.dist.name
            there = found.get(point.name)
            if there is None:
                found[point.name] = Entry(point.value, f"of the package {package}", package=package)
            elif there.target != point.value:
                warn(
                    f"the package {package} names a {self.kind} {point.name!r}, which is that of {there.package or 'lifelong'} here: name the other "
                    f"by where it is, {point.value}"
                )
        return found

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _methods() -> Mapping[str, Entry]:
    from .method_index import index

    return {
        m.name: Entry(
            f"lifelong.methods:{m.kind}",
            m.summary,
            m.paper,
            scenarios=m.scenarios,
            portable=m.portable,
            ranks=m.ranks,
        )
        for m in index()
        if m.summary
    }


_STREAMS: dict[str, Entry] = {
    "two_corpora": Entry(
        "lifelong.streams:two_corpora",
        "the same digits twice, first noisy, then clean",
        defaults={  # of a rate at which training comes to rest: see `lifelong.demo.demo`
            "net.hidden": (200, 200),
            "optimizer": "adam",
            "lr": 0.001,
            "epochs": 8,
            "batch_size": 64,
            "halve_every": 4,
        },
    ),
    "permuted": Entry(
        "lifelong.streams:permuted",
        "each task shuffles the pixels in its own way",
        "Goodfellow et al. 2013, arXiv 1312.6211",
        defaults={
            "net.hidden": (200, 200),
            "lr": 0.1,
            "momentum": 0.9,
            "clip": 1.0,
            "epochs": 6,
            "batch_size": 128,
        },
    ),
    "rotated": Entry(
        "lifelong.streams:rotated",
        "each task turns the images by its own angle",
        "Lopez-Paz & Ranzato 2017, arXiv 1706.08840",
        defaults={"net.hidden": (100, 100), "epochs": 5, "batch_size": 32, "lr": 0.1},
    ),
    "split": Entry(
        "lifelong.streams:split",
        "each task has its own classes (digits 0/1, 2/3, ...)",
        "Zenke et al. 2017, arXiv 1703.04200",
        defaults={"net.hidden": (400, 400), "epochs": 5, "batch_size": 32, "lr": 0.05},
    ),
    "mixed": Entry(
        "lifelong.streams:mixed",
        "digits and clothes in turn, each task with classes of its own",
        defaults={"net.hidden": (100, 100), "epochs": 5, "batch_size": 32, "lr": 0.05},
    ),
    "clinc150": Entry(
        "lifelong.streams:clinc150",
        "150 intents in ten domains, sentences as bags of words or features (LIFELONG_DATA)",
        "Larson et al. 2019, arXiv 1909.02027",
        defaults={"net.hidden": (100,), "epochs": 10, "batch_size": 32, "lr": 0.2},
    ),
    "banking77": Entry(
        "lifelong.streams:banking77",
        "77 intents of a bank's customers in steps, sentences as bags of words or features (LIFELONG_DATA)",
        "Casanueva et al. 2020, arXiv 2003.04807",
        defaults={"net.hidden": (100,), "epochs": 10, "batch_size": 32, "lr": 0.2},
    ),
    "turning": Entry(
        "lifelong.streams:turning",
        "two classes whose direction turns: the best order of the tasks is known",
        defaults={"net.hidden": (), "epochs": 5, "batch_size": 10, "lr": 0.1, "weight_decay": 0.1},
    ),
    "copying": Entry(
        "lifelong.streams:copying",
        "sequences of increasing length, one place of which is asked for",
        "after Sodhani, Chandar & Bengio 2018, arXiv 1811.07017",
        defaults={"net": "reader", "optimizer": "adam", "lr": 0.005, "batch_size": 32, "epochs": 10},
    ),
    "babi": Entry(
        "lifelong.streams:babi",
        "questions about short stories: the bAbI tasks, or like ones made by the package",
        "Weston et al. 2015, arXiv 1502.05698",
        defaults={"net": "memory_network", "epochs": 20, "batch_size": 32, "lr": 0.32, "clip": 1.25},
    ),
    "folder": Entry(
        "lifelong.streams:from_folder",
        "your own images: FOLDER/task/class/*.png, FOLDER/{train,test}/task/class/*.png, or FOLDER/class/*.png in --stream.tasks tasks",
        defaults={"net.hidden": (256, 256), "epochs": 5, "batch_size": 32, "lr": 0.05},
    ),
    "table": Entry(
        "lifelong.streams:from_table",
        "a CSV or parquet file: a row an example, a column that says its task and one that says its label",
        defaults={"net.hidden": (100,), "epochs": 10, "batch_size": 32, "lr": 0.05},
    ),
}

_NETS: dict[str, Entry] = {
    "mlp": Entry("lifelong.nets:MLP", "multi-layer perceptron with ReLU"),
    "memory_network": Entry(
        "lifelong.nets:MemoryNetwork",
        "answers questions about stories: looks at their sentences in several hops",
        "Sukhbaatar et al. 2015, arXiv 1503.08895",
    ),
    "reader": Entry("lifelong.nets:Reader", "an LSTM or GRU that reads a story word by word, and then the question"),
    "resnet18": Entry(
        "lifelong.nets:ResNet18", "residual network of 18 layers for small images", "He et al. 2016, arXiv 1512.03385"
    ),
}

METHODS = Table("method", _methods)
STREAMS = Table("stream", lambda: _STREAMS)
NETS = Table("net", lambda: _NETS)


def find(kind: str, table: Mapping[str, Entry], name: str) -> Entry:
    """The entry called `name`.

    Raises:
        MethodError: there is none; the message names the nearest.
    """
    if name not in table:
        raise MethodError(
            f"no {kind} called {name!r}{nearest(name, table)}; there are: {', '.join(table)}; your own is named by where it is: "
            f"./file.py:Name or package.module:Name"
        )
    return table[name]
