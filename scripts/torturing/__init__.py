"""What `scripts/torture.py` does to cnncli: a module for each kind of harm, and what they share.

A test is a function of (work folder, number generator) that does something once, and raises `AssertionError` where
cnncli did not stand it.
"""


class NotHereError(Exception):
    """This machine, or who works on it, cannot do the harm."""
