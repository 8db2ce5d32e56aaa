"""A stream with drift, one example at a time, each answered before it is learnt: a network beside river's own models.

Without --elec the first rows of river's own stream of phishing sites; with it Elec2 (``elec.csv.gz``), prices of electricity.

    python examples/river_elec.py [--rows 1000] [--elec FILE]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from river import datasets, linear_model, preprocessing, tree

from lifelong import Finetune, Replay, Training
from lifelong.loops import OnlineClassifier
from lifelong.measures.online import prequential, windowed


def elec(file: Path) -> Iterator[tuple[dict[str, float], bool]]:
    with gzip.open(file, "rt") as rows:
        for row in csv.DictReader(rows):
            label = row.pop("class")
            yield {name: float(value) for name, value in row.items()}, label == "1"


def main() -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--elec", type=Path)
    said = parser.parse_args()
    training = Training(lr=0.05)
    models = {
        "logistic regression (river)": linear_model.LogisticRegression(),
        "Hoeffding adaptive tree (river)": tree.HoeffdingAdaptiveTreeClassifier(seed=0),
        "network, fine-tuning": OnlineClassifier(Finetune(), training=training),
        "network, replay": OnlineClassifier(Replay(500, batch_size=8), training=training),
    }
    found = {}
    for name, own in models.items():
        model = preprocessing.StandardScaler() | own
        hits, began = [], time.perf_counter()
        stream = elec(said.elec) if said.elec else datasets.Phishing()
        for x, y in itertools.islice(stream, said.rows):
            hits.append(model.predict_one(x) == y)
            model.learn_one(x, y)
        found[name] = float(prequential(hits)[-1])
        print(
            f"{name:32} prequential accuracy {found[name]:.3f}, of the last 200 {windowed(hits, 200)[-1]:.3f}, "
            f"{time.perf_counter() - began:.1f} s"
        )
    return found


if __name__ == "__main__":
    main()
