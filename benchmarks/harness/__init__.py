"""The machinery behind `run.py`: environments, programs, workloads, goals and the report."""
