"""Embeddings without a key: `offline/lexical`, hashed words and pieces of words.

It knows similarity of spelling, not of meaning: "car" and "automobile" have nothing in common. The
same text gives the same vector in every process.
"""

import math
import re
import unicodedata
import zlib
from collections import Counter
from functools import lru_cache

DIMENSIONS = 384
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for"),
        *("from", "have", "how", "i", "in", "is", "it", "me", "my", "of", "on", "or", "please"),
        *("help", "know", "like", "must", "need", "should", "tell", "want", "we", "will"),
        *("that", "the", "this", "to", "was", "what", "with", "would", "you", "your"),
    }
)
_WORD_WEIGHT, _COMMON_WEIGHT, _PIECE_WEIGHT = 1.0, 0.15, 0.35


def embed(text: str) -> list[float]:
    """Return a unit vector of 384 numbers: signed hashing (Weinberger et al., 2009) of words and of
    their pieces of three to five characters, with sublinear counts."""
    words = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    vector = [0.0] * DIMENSIONS
    for word, count in words.items():
        weight = 1 + math.log(count)
        for index, value in _features(word):
            vector[index] += weight * value
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        return [1.0, *([0.0] * (DIMENSIONS - 1))]
    return [value / length for value in vector]


@lru_cache(maxsize=50_000)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    if word in _COMMON:
        return (_feature(word, _COMMON_WEIGHT),)
    bounded = f"<{word}>"
    pieces = [bounded[i : i + n] for n in (3, 4, 5) for i in range(len(bounded) - n + 1)]
    share = _PIECE_WEIGHT / math.sqrt(max(1, len(pieces)))
    return (_feature(word, _WORD_WEIGHT), *(_feature(piece, share) for piece in pieces))


def _feature(feature: str, weight: float) -> tuple[int, float]:
    number = zlib.crc32(feature.encode())
    return number % DIMENSIONS, weight if number >> 31 else -weight
