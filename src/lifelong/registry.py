"""What there is by name: methods, streams, networks. Nothing is imported until it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, final

from .errors import MethodError, nearest

__all__ = ["METHODS", "NETS", "OWN_LOOP", "RANKS", "STREAMS", "Entry", "find"]


@final
@dataclass(frozen=True)
class Entry:
    """One thing that has a name on the command line.

    `defaults` of a stream are those of a run on it: its network and its training. `scenarios` are those that a method runs in.
    """

    target: str  # module:attribute
    summary: str
    source: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scenarios: tuple[str, ...] = ("task", "domain", "class")

    def load(self) -> Any:
        module, attribute = self.target.split(":")
        return getattr(import_module(module), attribute)


METHODS: dict[str, Entry] = {
    "finetune": Entry("lifelong.methods:Finetune", "nothing against forgetting: what others are held to"),
    "joint": Entry("lifelong.methods:Joint", "trains on all tasks met so far after each: the upper bound"),
    "joint_once": Entry("lifelong.methods:JointOnce", "trains on all tasks at once, at the end"),
    "independent": Entry(
        "lifelong.methods:Independent", "one network a task: nothing shared, storage grows", scenarios=("task",)
    ),
    "l2": Entry(
        "lifelong.methods:L2", "holds every weight alike", "Kirkpatrick et al. 2017, arXiv 1612.00796, figure 2A"
    ),
    "ewc": Entry(
        "lifelong.methods:EWC",
        "Elastic Weight Consolidation: holds a weight by its Fisher information",
        "Kirkpatrick et al. 2017, arXiv 1612.00796; online: Schwarz et al. 2018, arXiv 1805.06370",
    ),
    "si": Entry(
        "lifelong.methods:SI",
        "Synaptic Intelligence: holds a weight by what it took off the loss on its way",
        "Zenke, Poole & Ganguli 2017, arXiv 1703.04200",
    ),
    "mas": Entry(
        "lifelong.methods:MAS",
        "Memory Aware Synapses: holds a weight by how much the outputs depend on it; needs no labels",
        "Aljundi et al. 2018, arXiv 1711.09601",
    ),
    "rwalk": Entry(
        "lifelong.methods:RWalk",
        "Riemannian Walk: Fisher information and the loss taken off per distance",
        "Chaudhry et al. 2018, arXiv 1801.10112",
    ),
    "replay": Entry(
        "lifelong.methods:Replay",
        "Experience replay: learns from new and remembered examples together",
        "Chaudhry et al. 2019, arXiv 1902.10486",
    ),
    "latent_replay": Entry(
        "lifelong.methods:LatentReplay",
        "Latent replay: remembers what arrives at a chosen layer, below which the network rests",
        "Pellegrini et al. 2020, arXiv 1912.01100",
    ),
    "der": Entry(
        "lifelong.methods:DER",
        "Dark Experience Replay: stays close to its own earlier answers on remembered examples",
        "Buzzega et al. 2020, arXiv 2004.07211",
    ),
    "derpp": Entry(
        "lifelong.methods:DERpp",
        "DER++: DER, and learns the labels of remembered examples as well",
        "Buzzega et al. 2020, arXiv 2004.07211",
    ),
    "gdumb": Entry(
        "lifelong.methods:GDumb",
        "GDumb: a new network on a balanced memory after each task; what every other method should beat",
        "Prabhu, Torr & Dokania, ECCV 2020",
    ),
    "gem": Entry(
        "lifelong.methods:GEM",
        "Gradient Episodic Memory: never moves against the gradient of a past task",
        "Lopez-Paz & Ranzato 2017, arXiv 1706.08840",
    ),
    "lwf": Entry(
        "lifelong.methods:LwF",
        "Learning without Forgetting: answers as before on the new inputs; keeps no examples",
        "Li & Hoiem 2016, arXiv 1606.09282",
    ),
    "generative_replay": Entry(
        "lifelong.methods:GenerativeReplay",
        "Deep generative replay: draws inputs like those of past tasks, and answers them as before",
        "Shin et al. 2017, arXiv 1705.08690",
    ),
    "fearnet": Entry(
        "lifelong.methods:FearNet",
        "FearNet: a recent memory, a long-term one, a gate between them, and sleep; for feature vectors",
        "Kemker & Kanan 2018, arXiv 1711.10563",
        scenarios=("task", "class"),
    ),
    "nearest_mean": Entry(
        "lifelong.methods:NearestMean", "nearest mean of each class's inputs: a reference for feature vectors"
    ),
    "nearest_neighbour": Entry(
        "lifelong.methods:NearestNeighbour", "nearest input met, all of them kept: a reference for feature vectors"
    ),
    "slda": Entry(
        "lifelong.methods:SLDA",
        "streaming linear discriminant analysis: class means and one covariance; for feature vectors",
        "Hayes & Kanan 2020, arXiv 1909.01520",
    ),
    "ranpac": Entry(
        "lifelong.methods:RanPAC",
        "RanPAC: a ridge regression on random projections, of sums alone; for feature vectors",
        "McDonnell et al. 2023, arXiv 2307.02251",
    ),
    "icarl": Entry(
        "lifelong.methods:ICaRL",
        "iCaRL: few herded exemplars, distillation, and the nearest mean of exemplars",
        "Rebuffi et al. 2017, arXiv 1611.07725",
        scenarios=("task", "class"),
    ),
    "agem": Entry(
        "lifelong.methods:AGEM",
        "Averaged GEM: never moves against the mean gradient of past examples",
        "Chaudhry et al. 2019, arXiv 1812.00420",
    ),
    "grow": Entry(
        "lifelong.methods:Grow",
        "Growth on demand: a wider network, by Net2Net, where a task is too much for it; beside another method, as gem+grow",
        "Sodhani, Chandar & Bengio 2020, arXiv 1811.07017; Net2Net: arXiv 1511.05641",
    ),
    "progressive": Entry(
        "lifelong.methods:Progressive",
        "Progressive Neural Networks: a column a task, which reads the frozen columns before it",
        "Rusu et al. 2016, arXiv 1606.04671",
        scenarios=("task",),
    ),
    "packnet": Entry(
        "lifelong.methods:PackNet",
        "PackNet: each task keeps the largest of the free weights, and frees the others",
        "Mallya & Lazebnik 2018, arXiv 1711.05769",
        scenarios=("task",),
    ),
    "hat": Entry(
        "lifelong.methods:HAT",
        "Hard Attention to the Task: each task uses, and then keeps, units of its own choice",
        "Serrà et al. 2018, arXiv 1801.01423",
        scenarios=("task",),
    ),
    "expert_gate": Entry(
        "lifelong.methods:ExpertGate",
        "Expert Gate: a network a task, chosen from the input by autoencoders; the most related one starts the next",
        "Aljundi, Chakravarty & Tuytelaars 2017, arXiv 1611.06194",
    ),
}

# What methods say of themselves, once more, so that a list of them needs no import (tests hold the two together).
OWN_LOOP = frozenset(  # they work inside somebody's own training loop
    (
        "finetune",
        "l2",
        "ewc",
        "si",
        "mas",
        "rwalk",
        "replay",
        "der",
        "derpp",
        "gem",
        "lwf",
        "generative_replay",
        "agem",
        "latent_replay",
    )
)
RANKS = frozenset(METHODS) - {"latent_replay", "ranpac", "slda"}  # several processes give what one gives

STREAMS: dict[str, Entry] = {
    "two_corpora": Entry(
        "lifelong.streams:two_corpora",
        "the same digits twice, first noisy, then clean",
        defaults={  # of a rate at which training comes to rest: see `lifelong.demo`
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
}

NETS: dict[str, Entry] = {
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


def find(kind: str, table: Mapping[str, Entry], name: str) -> Entry:
    """The entry called `name`.

    Raises:
        MethodError: there is none; the message names the nearest.
    """
    if name not in table:
        raise MethodError(f"no {kind} called {name!r}{nearest(name, table)}; there are: {', '.join(table)}")
    return table[name]
