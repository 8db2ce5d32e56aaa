"""Checks of hyperparameters that many methods share."""

from __future__ import annotations

from numbers import Integral, Real

from .errors import MethodError

__all__ = ["not_negative", "whole_number"]


def not_negative(name: str, **given: float) -> None:
    """Raises `MethodError` for a hyperparameter below 0, or for what is no number."""
    for key, value in given.items():
        if not isinstance(value, Real):
            raise MethodError(f"{name}: {key} {value!r}: expected a number")
        if not value >= 0:
            raise MethodError(f"{name}: {key} {value}: expected 0 or more; below 0 a penalty would push away")


def whole_number(name: str, least: int, **given: object) -> None:
    """Raises `MethodError` for what is no whole number of at least `least`."""
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise MethodError(f"{name}: {key} {value!r}: expected {least} or more, a whole number")
