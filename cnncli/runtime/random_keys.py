"""Counter-based random numbers: every draw is a pure function of its key.

A key consists of words such as seed, stage, epoch and the digest of an image. Draws therefore do not depend on threads,
the order of images, or interruptions.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def key_of(*words: str | int) -> int:
    """Return a 128-bit key for a sequence of words; any change of a word or of its boundaries changes the key."""
    # The length before each word makes the boundaries between words part of the key.
    text = "".join(f"{type(word).__name__}:{len(str(word))}:{word}" for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest(), "big")


def generator(*words: str | int) -> np.random.Generator:
    """Return a NumPy generator (Philox, counter-based) for a sequence of words."""
    return np.random.Generator(np.random.Philox(key=key_of(*words)))


def digest_words(digests: list[str] | tuple[str, ...]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each hexadecimal digest, shape (n,)."""
    return np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64)


def uniform_words(words: NDArray[np.uint64], *key: str | int) -> NDArray[np.uint64]:
    """Return a uniform 64-bit number for each digest word, keyed by `key`, shape (n,).

    The mixer is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which passes BigCrush; two rounds separate keys.
    """
    mixed = words ^ np.uint64(key_of(*key) & 0xFFFFFFFFFFFFFFFF)
    for _ in range(2):
        mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed
