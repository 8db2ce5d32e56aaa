"""Pictures and pages, made from the files of a run directory alone and so at any time anew."""

from .page import compare, write
from .results import COSTS, MEASURES, Results, merge, read
from .table import as_text

__all__ = ["COSTS", "MEASURES", "Results", "as_text", "compare", "merge", "read", "write"]
