"""What is measured of a run: the matrix R, intervals and tests, online measures, budgets."""
