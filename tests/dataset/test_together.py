"""Groups of images that are not to be divided."""

from __future__ import annotations

from cnncli.dataset.together import CROWD, together


def test_links_over_several_steps_make_one_group() -> None:
    """Equal ones and those that look alike, in any order."""
    groups = together(list("abcbd"), ["x"] * 5, [(4, 2), (0, 2)])
    assert groups == [[0, 2, 4], [1, 3]]


def test_a_small_group_may_be_all_of_a_class() -> None:
    """Copies in a small class are copies all the same."""
    assert together(list("abcd"), ["x"] * 4, [(0, 1), (1, 2), (2, 3)]) == [[0, 1, 2, 3]]


def test_a_crowd_is_divided_into_equal_images() -> None:
    """A tenth of a class that looks alike is what the data is like."""
    n = CROWD + 1
    digests = [f"{k}" for k in range(n)] + ["0"]
    chain = [(k, k + 1) for k in range(n - 1)]
    assert together(digests, ["x"] * (n + 1), chain) == [[0, n], *([k] for k in range(1, n))]
    many = [*digests, *(f"other {k}" for k in range(200))]
    assert together(many, ["x"] * len(many), chain)[0] == list(range(n + 1))


def test_equal_files_are_no_crowd() -> None:
    """However many there are, and whatever one more image looks like."""
    digests = ["a"] * 50 + ["b"]
    assert together(digests, ["x"] * 51, [(0, 50)]) == [list(range(51))]
