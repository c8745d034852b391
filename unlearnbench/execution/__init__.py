"""Run a plan: one job, its fit and its cells, processes, executors."""
