"""Trees: boosted ones of few leaves, and the exact Shapley values of what they say.

A tree's value for a set of known features is the path-dependent expectation: a split on an unknown
feature is averaged by how many training rows went each way (Lundberg et al., *Consistent
individualized feature attribution for tree ensembles*, 2018). With at most eight leaves a tree
asks at most seven yes/no questions, so a lead's answers are a small number, and what follows from
the same answers is computed once.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from pydantic import PrivateAttr

from domain.base import Contract

MOST_LEAVES = 8


class Node(Contract):
    """A split (`left` and `right` are places of nodes) or a leaf (`value`, in log-odds).
    `missing_left`: where a value goes that is not known; `count`: training rows here."""

    count: float
    value: float = 0
    feature: int = -1
    threshold: float = 0
    missing_left: bool = False
    left: int = -1
    right: int = -1

    @property
    def is_leaf(self) -> bool:
        return self.left < 0


class Tree(Contract):
    """One small tree. Its nodes' first is the root."""

    nodes: tuple[Node, ...]
    _questions: tuple[tuple[int, float, bool], ...] = PrivateAttr(default=())
    _places: dict[int, int] = PrivateAttr(default_factory=dict)
    _known: dict[int, tuple[tuple[int, float], ...]] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _: Any) -> None:
        splits = [place for place, node in enumerate(self.nodes) if not node.is_leaf]
        self._places = {place: bit for bit, place in enumerate(splits)}
        self._questions = tuple(
            (node.feature, node.threshold, node.missing_left)
            for node in (self.nodes[place] for place in splits)
        )

    @property
    def features(self) -> tuple[int, ...]:
        """The features that it asks for."""
        return tuple(sorted({feature for feature, _, _ in self._questions}))

    @property
    def base(self) -> float:
        """Its value for a lead of which nothing is known."""
        return self._expected(0, 0, frozenset())

    def contributions(self, row: Sequence[float]) -> tuple[tuple[int, float], ...]:
        """`(feature, log-odds)` pairs that, with `base`, add up to the tree's value for a row."""
        answers, bit = 0, 1
        for feature, threshold, missing_left in self._questions:
            value = row[feature]
            if value <= threshold or (missing_left and value != value):
                answers |= bit
            bit <<= 1
        found = self._known.get(answers)
        if found is None:
            found = self._known[answers] = self._shapley(answers)
        return found

    def _shapley(self, answers: int) -> tuple[tuple[int, float], ...]:
        features = self.features
        count = len(features)
        values = {
            frozenset(chosen): self._expected(0, answers, frozenset(chosen))
            for size in range(count + 1)
            for chosen in combinations(features, size)
        }
        shares = []
        for feature in features:
            share = sum(
                _weight(len(without), count) * (values[without | {feature}] - value)
                for without, value in values.items()
                if feature not in without
            )
            shares.append((feature, share))
        return tuple(shares)

    def _expected(self, place: int, answers: int, known: frozenset[int]) -> float:
        node = self.nodes[place]
        if node.is_leaf:
            return node.value
        if node.feature in known:
            goes_left = answers >> self._places[place] & 1
            return self._expected(node.left if goes_left else node.right, answers, known)
        left, right = self.nodes[node.left], self.nodes[node.right]
        whole = left.count + right.count
        return (
            left.count * self._expected(node.left, answers, known)
            + right.count * self._expected(node.right, answers, known)
        ) / whole


def _weight(size: int, count: int) -> float:
    """The share of orders in which exactly these features come before this one."""
    return math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
