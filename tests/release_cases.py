"""The runs that are exported in tests: every method that answers by itself."""

from __future__ import annotations

from lifelong.core.registry import METHODS

SMALL = {"stream": "split", "stream.source": "digits", "stream.tasks": 3, "net.hidden": "16", "epochs": 1}
ANSWERING = {name: e.load()().scenarios for name, e in METHODS.items() if "predict" in e.load()().acts}

# every method of the registry that answers by itself, and what the network answers for
CASES = [("class", "finetune"), ("task", "finetune"), ("class", "ewc+grow")]
CASES += [
    (s, m) for m, known in ANSWERING.items() for s in known if s != "domain" and (s, m) != ("class", "independent")
]
