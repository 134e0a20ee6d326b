"""Benchmarks of `scripts/bench.py`: one module per group, whose `measure(setting, names)` yields rows."""
