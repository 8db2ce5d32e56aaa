"""The command line. Help and lists import neither torch nor anything heavy."""

from .dispatch import main

__all__ = ["main"]
