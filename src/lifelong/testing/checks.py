"""All laws at once, for one's own method or stream."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..core.method import Method
from ..core.stream import Stream
from .laws import LawBroken, run
from .method_laws import METHOD_LAWS
from .stream_laws import STREAM_LAWS

__all__ = ["check_method", "check_stream"]


def check_method(method: type[Method] | Method, **hyperparameters: Any) -> None:
    """Holds a method to every law that the package's own obey: saved and resumed to the last bit, neutral at its neutral hyperparameters, the
    same through `fit`, `Learner` and `protect`, the same on two ranks where it says so, no waiting for a device in a step, and others.

    >>> from lifelong import L2
    >>> check_method(L2, strength=0.1)

    Args:
        method: a class, tried with the hyperparameters that its `examples` name and with `hyperparameters`; or an object.
        hyperparameters: of the class.

    Raises:
        LawBroken: a law does not hold; a sentence each says what was found.
    """
    if isinstance(method, Method):
        run(METHOD_LAWS, method, str(method))
        return
    if not (inspect.isclass(method) and issubclass(method, Method)):
        raise LawBroken(f"check_method({method!r}): expected a subclass of lifelong.Method, or an object of one")
    tried: list[Mapping[str, Any]] = [hyperparameters] if hyperparameters else list(method.examples)
    for given in tried:
        run(METHOD_LAWS, method(**given), f"{method.__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())})")


def check_stream(stream: Stream | Callable[..., Stream], **options: Any) -> None:
    """Holds a stream to every law: labels are outputs, inputs finite and of one shape, the same data for the same seed, nothing drawn from
    torch's own generator, examples in the order asked for, and others.

    >>> from lifelong import permuted
    >>> check_stream(permuted, source="digits", tasks=2, examples=50)

    Args:
        stream: a Stream, or what makes one; it gets ``seed=`` if it takes it.
        options: of what makes it.

    Raises:
        LawBroken: a law does not hold; a sentence each says what was found.
    """
    if isinstance(stream, Stream):
        run(STREAM_LAWS, lambda seed: stream, f"the stream {stream.name!r}")
        return
    make: Callable[..., Stream] = stream
    seeded = "seed" in inspect.signature(make).parameters and "seed" not in options

    def of(seed: int) -> Stream:
        return make(**options, **({"seed": seed} if seeded else {}))

    run(STREAM_LAWS, of, getattr(make, "__name__", "the stream"))
