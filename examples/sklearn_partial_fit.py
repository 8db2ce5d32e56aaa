"""Digits that come two kinds at a time, to a classifier of scikit-learn's kind: in a pipeline, in a grid search, and class by class.

EWC ends where fine-tuning ends: with new classes a guard on weights helps little (docs/which-method.md). Replay keeps them.

python examples/sklearn_partial_fit.py
"""

from __future__ import annotations

import argparse

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, train_test_split

from lifelong import EWC, MLP, Finetune, Replay, Training
from lifelong.loops import LifelongClassifier


def main() -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=200, help="examples that replay keeps")
    said = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0, stratify=y)
    net, training = MLP((64,)), Training(optimizer="adam", lr=0.005, epochs=5, batch_size=32)

    models = {
        "fine-tuning": LifelongClassifier(Finetune(), net, training),
        "EWC": LifelongClassifier(EWC(100.0), net, training),
        "replay": LifelongClassifier(Replay(said.slots), net, training),
        "SGDClassifier (scikit-learn)": SGDClassifier(loss="log_loss", random_state=0),
    }
    found = {}
    for name, model in models.items():
        for pair in ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)):
            rows = [label in pair for label in y_train]
            if isinstance(model, LifelongClassifier):
                model.partial_fit(X_train[rows], y_train[rows])  # a task; nobody said which classes there will be
            else:
                model.partial_fit(X_train[rows], y_train[rows], classes=range(10))
        found[name] = model.score(X_test, y_test)
        print(f"{name:30} accuracy on all ten digits, learnt two at a time: {found[name]:.3f}")

    rows = [label in (0, 1) for label in y_train]
    search = GridSearchCV(LifelongClassifier(net=net, training=training), {"training__lr": [1e-5, 0.005]}, cv=2)
    print("chosen by cross-validation:", search.fit(X_train[rows], y_train[rows]).best_params_)
    return found


if __name__ == "__main__":
    main()
