"""All laws at once, for one's own method or stream."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import MethodError, nearest
from ..core.method import Method, is_method
from ..core.stream import Stream
from .laws import LawBroken, run, where
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
        LawBroken: a law does not hold; a sentence each says what was found. Or the method cannot be made, or has what the library would pass
            over in silence.
        MethodError: the method refuses a hyperparameter.
    """
    if isinstance(method, Method):
        _hold(method, str(method))
        return
    if not (inspect.isclass(method) and issubclass(method, Method)):
        raise LawBroken(f"check_method({method!r}): expected a subclass of lifelong.Method, or an object of one")
    for given in [hyperparameters] if hyperparameters else _examples(method):
        called = f"{method.__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())})"
        _hold(_made(method, given, called), called)


def _hold(method: Method, called: str) -> None:
    try:
        is_method(method)
    except MethodError as error:  # once, and not for each law
        raise LawBroken(f"{called}: {error}") from error
    run(METHOD_LAWS, method, called)


def _examples(kind: type[Method]) -> list[Mapping[str, Any]]:
    """The hyperparameters that a class names."""
    found: Any = kind.examples
    if callable(found):
        raise LawBroken(
            f"{kind.__name__}.examples is a function: its slot is `segments(state, batch, context)` now, and `examples` are hyperparameters to try"
        )
    if not (isinstance(found, list | tuple) and found and all(isinstance(each, Mapping) for each in found)):
        raise LawBroken(
            f"{kind.__name__}.examples is {found!r}: expected hyperparameters to try, a tuple of dictionaries, such as ({{'strength': 1.0}},)"
        )
    return list(found)


def _made(kind: type[Method], given: Mapping[str, Any], called: str) -> Method:
    """A method with these hyperparameters."""
    known = inspect.signature(kind).parameters
    for key in given:
        if key not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise LawBroken(
                f"{called}: no hyperparameter called {key!r}{nearest(key, known)}; there are: {', '.join(known) or 'none'}"
            )
    missing = [
        k
        for k, p in known.items()
        if p.default is p.empty and k not in given and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        first = missing[0]
        raise LawBroken(
            f"{called}: {', '.join(missing)} must be given: check_method({kind.__name__}, {first}=...), or name it in the class, "
            f"examples: ClassVar = ({{{first!r}: ...}},)"
        )
    try:
        return kind(**given)
    except TypeError as error:
        raise LawBroken(f"{called} cannot be made: {error}{where(error)}") from error


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
