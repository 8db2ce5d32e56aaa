"""A run's specification in its folder: what it was asked to do, by the command line or by `fit`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import RunError
from ..core.files import write_atomically
from ..core.yaml_io import flatten, plain, read_yaml
from .run import Run, manifest, refuse_older
from .spec import RunSpec
from .spec_keys import parts_of

__all__ = ["beside_others", "write_specification"]

_MAY_DIFFER = {
    "method",
    "seeds",
    "every",
    "threads",
    "device",
    "evaluate_every",
    "tuned",
    "budget_compute",
    "budget_memory",
}


def write_specification(
    folder: Path,
    spec: RunSpec,
    run: Run,
    begun: Mapping[str, Any] | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Writes what a run is asked for.

    Args:
        folder: the run's.
        spec: the run.
        run: its stream and notes, for the manifest; one that is there stays.
        begun: by which engine it is begun.
        extra: further files, by name.
    """
    if not (folder / "manifest.json").exists():
        how = manifest(run, spec.seeds, engine=dict(begun or {"name": "local", "jobs": 1}))
        write_atomically(folder / "manifest.json", json.dumps(how, indent=1))
    for name, text in (extra or {}).items():
        write_atomically(folder / name, text)
    write_atomically(folder / "config.yaml", spec.to_yaml())  # last: from here on it can be resumed


def beside_others(folder: Path, spec: RunSpec) -> RunSpec:
    """The specification of `folder` with the methods and seeds of `spec` added to those that it has.

    Raises:
        RunError: it holds a run of another stream, network or training, or of code that has changed.
    """
    refuse_older(folder)
    path = folder / "config.yaml"
    if not path.exists():
        return spec
    before, now = read_yaml(path), flatten(yaml.safe_load(spec.to_yaml()))
    methods = tuple(dict.fromkeys([*str(before["method"]).split(","), *spec.methods]))
    own, there = set(parts_of(methods)), set(parts_of(tuple(str(before["method"]).split(","))))
    usual = _usual(spec)
    for key in sorted({*before, *now}):
        lead = key.partition(".")[0]
        if lead in own and not (lead in there and lead in spec.method_options):
            continue
        if lead in ("code", "sha256") or key in _MAY_DIFFER:
            continue
        was, here = (said.get(key, usual.get(key)) for said in (before, now))
        if was != here:
            raise RunError(
                f"{folder} holds a run of another specification ({key}: {_short(was)} there, {_short(here)} here): choose another out, or remove it"
            )
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for where in sorted(tree.get("sha256", {}).keys() & spec.sha256.keys()):
        if tree["sha256"][where] != spec.sha256[where]:
            raise RunError(
                f"{where} has changed since the run in {folder} began: put it back as it was, or choose another out"
            )
    options = {part: dict(tree.get(part) or {}) for part in own if part not in spec.method_options}
    unnamed = {f"method.{part}": given.pop("unnamed") for part, given in options.items() if "unnamed" in given}
    return replace(
        spec,
        methods=methods,
        seeds=tuple(dict.fromkeys([*before.get("seeds", ()), *spec.seeds])),
        method_options={**options, **spec.method_options},
        unnamed={**unnamed, **spec.unnamed},
        code={**tree.get("code", {}), **spec.code},
        sha256={**tree.get("sha256", {}), **spec.sha256},
    )


def _usual(spec: RunSpec) -> dict[str, Any]:
    """The hyperparameters of its methods where nothing is said, by key."""
    parts = {k.removeprefix("method."): v for k, v in spec.objects.items() if k.startswith("method.")}
    return {f"{name}.{f.name}": plain(f.default) for name, part in parts.items() for f in fields(part)}


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) <= 100 else f"{said[:100]}..."
