"""Runs on disk: what is asked for, checkpoints, leases, executors, sweeps, and how far a run is."""
