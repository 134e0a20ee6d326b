"""What `scripts/torture.py` does to cnncli: a module for each kind of harm, and what they share.

A module has `TESTS`: by name, a function of (work folder, number generator) that does it once and raises
`AssertionError` where cnncli did not stand it, and how often the whole torture does it.
"""
