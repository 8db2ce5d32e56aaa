"""Faults of each kind, done to runs, and what a run must then be found to be."""
