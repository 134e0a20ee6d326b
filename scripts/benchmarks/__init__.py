"""Benchmarks of `scripts/bench.py`: functions that yield rows, with their tools."""
