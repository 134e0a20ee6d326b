"""Random draws depend only on their key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncli.runtime.random_keys import digest_words, generator, key_of, uniform_words

WORDS = st.lists(st.integers() | st.text(), max_size=4)
KEY = 271570871580665785383623858079179162092
DRAWS = [2504964690, 3902728658, 1411499515]
DIGESTS = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=20, unique=True)


@given(WORDS)
def test_a_key_has_128_bits_and_is_the_same_each_time(words: list[str | int]) -> None:
    """A key is a pure function of its words and has 128 bits, as a Philox generator requires."""
    assert key_of(*words) == key_of(*words)
    assert 0 <= key_of(*words) < 2**128


@given(WORDS, WORDS)
def test_different_words_have_different_keys(first: list[str | int], second: list[str | int]) -> None:
    """Any change of a word or its type, and any added word, changes the key."""
    words = [[(type(word), word) for word in sequence] for sequence in (first, second)]

    assert (key_of(*first) == key_of(*second)) == (words[0] == words[1])


@pytest.mark.parametrize(
    ("first", "second"),
    [((1,), ("1",)), (("ab", "c"), ("a", "bc")), ((), ("",)), ((1, 2), (12,)), (("a", "b"), ("a\x1fstr:b",))],
)
def test_keys_that_look_alike_differ(first: tuple[str | int, ...], second: tuple[str | int, ...]) -> None:
    """Numbers differ from their digits as text, and the boundaries between words matter."""
    assert key_of(*first) != key_of(*second)


def test_a_key_is_the_same_on_every_machine_and_in_every_version() -> None:
    """The key has a fixed value, because cached views and the image order of earlier versions depend on it."""
    assert key_of(0, "head", 1, "abc") == KEY
    assert generator(0, "head", 1, "abc").integers(0, 2**32, 3).tolist() == DRAWS


def test_draws_do_not_depend_on_other_draws() -> None:
    """A generator gives the same numbers whether or not other generators were used before it."""
    alone = generator(0, "a").random(5)
    generator(0, "b").random(100)

    np.testing.assert_array_equal(generator(0, "a").random(5), alone)


@given(DIGESTS, st.integers(0), st.randoms())
def test_a_images_number_does_not_depend_on_the_other_images(digests: list[str], seed: int, shuffler) -> None:
    """The number of an image does not depend on the other images or on their order."""
    numbers = dict(zip(digests, uniform_words(digest_words(digests), seed), strict=True))
    shuffled = list(digests)
    shuffler.shuffle(shuffled)
    some = shuffled[: len(shuffled) // 2 + 1]

    assert dict(zip(some, uniform_words(digest_words(some), seed), strict=True)) == {one: numbers[one] for one in some}


@given(DIGESTS, st.integers(0), st.integers(0))
def test_numbers_follow_the_key(digests: list[str], first: int, second: int) -> None:
    """For every image, the same key gives the same number, and a different key a different one."""
    words = digest_words(digests)
    equal = uniform_words(words, first) == uniform_words(words, second)

    assert equal.all() if first == second else not equal.any()


@given(DIGESTS, st.integers(0))
def test_distinct_images_have_distinct_numbers(digests: list[str], seed: int) -> None:
    """The mixer is a bijection, so no two images have the same number."""
    words = digest_words(digests)

    assert len(np.unique(uniform_words(words, seed))) == len(np.unique(words))


def test_numbers_are_uniform_over_images_and_independent_between_keys() -> None:
    """The numbers of 20,000 images fill 16 bins evenly, and are uncorrelated with those of the next epoch."""
    words = digest_words([f"{k:016x}" for k in range(20_000)])
    first, second = uniform_words(words, 0, 1), uniform_words(words, 0, 2)
    counts = np.bincount((first >> np.uint64(60)).astype(int), minlength=16)

    assert abs(counts - 1250).max() < 5 * np.sqrt(1250)
    assert abs(np.corrcoef(first.astype(float), second.astype(float))[0, 1]) < 5 / np.sqrt(20_000)


def test_there_are_no_numbers_without_images() -> None:
    """Without images, the result is empty."""
    assert uniform_words(digest_words([]), 0).shape == (0,)
