"""Fault injection: kill cnncli, fill its disk, and feed it damaged and hostile files.

Each module contains one kind of fault. A test is a function of a work directory and a random generator. It injects one
fault and raises `AssertionError` if cnncli does not handle it.
"""


class NotHereError(Exception):
    """The fault cannot be injected on this machine or by this user."""
