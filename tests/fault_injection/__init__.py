"""What `tests/fault_injection` does to cnncli: a module for each kind of harm, and what they share.

A test is a function of (work folder, number generator) that does something once, and raises `AssertionError` where
cnncli did not stand it.
"""


class NotHereError(Exception):
    """Harm that cannot be done on this machine, or by who works on it."""
