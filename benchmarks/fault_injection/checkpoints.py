"""Checkpoints that are damaged, stale, or forged."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

from fault_injection.processes import call
from fault_injection.trials import Bench, Tally, compare, config_of, learn


def damage(bench: Bench) -> Tally:
    """Checkpoints that are cut short, changed in a bit, empty, missing, older than they were, or another run's."""
    config, tally = config_of("derpp"), Tally()
    _, reference, _ = bench.reference(config)
    half = bench.half(config)
    names = ("tensors.safetensors", "state.json", "sealed.json")

    def copy() -> tuple[Path, list[Path]]:
        folder = bench.fresh()
        shutil.copytree(half, folder)
        return folder, sorted((folder / "checkpoint" / "derpp" / "0").glob("[0-9]*"))

    def spoil(path: Path, how: str) -> None:
        data = bytearray(path.read_bytes())
        if how == "missing":
            path.unlink()
        elif how == "a bit":
            data[bench.rng.randrange(len(data))] ^= 1 << bench.rng.randrange(8)
            path.write_bytes(data)
        else:
            path.write_bytes(data[: 0 if how == "empty" else bench.rng.randrange(len(data))])

    def go_on(folder: Path, what: str, noted: bool) -> None:
        how, said = call(lambda: learn(config, folder), bench.said())
        seen = "damaged" in (folder / "events.jsonl").read_text()
        tally.end(f"{how}, {what}", said, how == "status 0" and seen == noted)
        compare(reference, folder, tally)
        shutil.rmtree(folder)

    for case in range(2 * bench.cases):
        how = ("a bit", "cut short", "a bit", "empty", "missing")[case % 5]
        folder, found = copy()
        spoil(found[-1] / names[case % 3], how)
        if case % 4 == 3:
            spoil(found[0] / names[(case + 1) % 3], "a bit")
        go_on(folder, "both damaged" if case % 4 == 3 else f"the newest damaged: {how}", True)
    folder, found = copy()
    shutil.rmtree(found[-1])
    go_on(folder, "stale: an older one put in its place", False)
    for what, other in {
        "another training": config_of("derpp", lr=0.001),
        "another strength": config_of("derpp", **{"derpp.alpha": 0.1}),
        "another network": config_of("derpp", **{"net.hidden": (16,)}),
        "other data": config_of("derpp", **{"stream.tasks": 2}),
        "another precision": config_of("derpp", precision="float64"),
    }.items():
        theirs, (folder, found) = bench.half(other), copy()
        shutil.rmtree(folder / "checkpoint")
        shutil.copytree(theirs / "checkpoint", folder / "checkpoint")
        how, said = call(lambda: learn(config, folder), bench.said())  # noqa: B023
        clear = "another run's" in said or "does not fit this run" in said
        tally.end(f"{how}, stale: of a run with {what}", said, how == "status 1" and clear)
    return tally


def forged(bench: Bench) -> Tally:
    """Checkpoints with a valid seal in which one value was replaced: an error or other numbers, never a crash."""
    config, tally = config_of("ewc"), Tally()
    half = bench.half(config)
    strange = (None, -1, 10**15, 1.5, "os:system", [], {}, {"__reduce__": "os.system"}, True, [[[]]])
    for _ in range(4 * bench.cases):
        folder = bench.fresh()
        shutil.copytree(half, folder)
        newest = max((folder / "checkpoint" / "ewc" / "0").glob("[0-9]*"))
        meta = json.loads((newest / "state.json").read_text())
        node, key = meta, bench.rng.choice(list(meta))
        while isinstance(node[key], dict | list) and node[key] and bench.rng.random() < 0.9:
            node = node[key]
            key = bench.rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[key] = bench.rng.choice(strange)
        (newest / "state.json").write_text(json.dumps(meta))
        sums = {n: sha256((newest / n).read_bytes()).hexdigest() for n in ("tensors.safetensors", "state.json")}
        (newest / "sealed.json").write_text(json.dumps(sums))
        how, said = call(lambda: learn(config, folder), bench.said())  # noqa: B023
        tally.end(how, f"{key} = {node[key]!r}: {said}", how in ("status 0", "status 1"))
        shutil.rmtree(folder)
    return tally
