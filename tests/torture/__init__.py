"""The short tier of `scripts/torture.py`: the same harm, less often."""
