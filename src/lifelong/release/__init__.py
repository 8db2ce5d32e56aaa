"""What leaves a run: the gate before a release, the export, and answers of what was exported."""

from .about import About
from .answers import Answers
from .export import export
from .export_io import load
from .gate import Gate, Limits, gate
from .predictor import Predictor

__all__ = ["About", "Answers", "Gate", "Limits", "Predictor", "export", "gate", "load"]
