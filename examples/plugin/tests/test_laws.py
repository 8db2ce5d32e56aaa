"""The plug-in obeys the laws of the package that it extends, and is found by its entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from lifelong_pull.method import Pull
from lifelong_pull.net import narrow
from lifelong_pull.stream import drifting

from lifelong.testing import check_method, check_stream


def test_the_method_obeys_every_law() -> None:
    check_method(Pull)
    check_method(Pull, strength=0.5)


def test_the_stream_obeys_every_law() -> None:
    check_stream(drifting, tasks=2, examples=60)


def test_the_network_takes_what_a_stream_has() -> None:
    stream = drifting(tasks=2)
    net = narrow(stream.shape, stream.outputs, units=5)
    assert net(next(stream[0].test.all(3)).x).shape == (3, stream.outputs)


def test_it_is_found_by_name() -> None:
    found = {
        (p.group, p.name) for kind in ("methods", "nets", "streams") for p in entry_points(group=f"lifelong.{kind}")
    }
    assert {("lifelong.methods", "pull"), ("lifelong.nets", "narrow"), ("lifelong.streams", "drifting")} <= found
