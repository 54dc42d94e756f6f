"""Trees: boosted ones of few leaves, and the exact Shapley values of their sums.

A tree's value for a set of known features is the path-dependent expectation: a split on an unknown
feature is averaged by how many training rows went each way (Lundberg et al., *Consistent
individualized feature attribution for tree ensembles*, 2018). With at most eight leaves a tree
has at most seven splits: a lead's answers fit into a byte, and the values that follow from the
same answers are computed once.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from domain.base import Contract

MAX_LEAVES = 8
# w(s, d): the share of the orders of d features in which exactly s given ones come before another.
_ORDERS = [
    [math.factorial(s) * math.factorial(d - s - 1) / math.factorial(d) for s in range(d)]
    for d in range(MAX_LEAVES)
]
Parts = tuple[tuple[int, float], ...]


class Node(Contract):
    """A split (`left` and `right` are indices of nodes) or a leaf (`value`, in log-odds).
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

    @property
    def splits(self) -> list[int]:
        """Return the indices of the splits, in the order of their bits."""
        return [index for index, node in enumerate(self.nodes) if not node.is_leaf]


class _Leaf:
    """A leaf and the path to it: for each feature on it the share of training rows that would go
    on, and the answers that a lead must give."""

    def __init__(self, value: float, shares: dict[int, float], masks: dict[int, tuple[int, int]]):
        self.value = value
        self.path = [(feature, share, *masks[feature]) for feature, share in shares.items()]

    def parts(self, answers: int) -> Iterator[tuple[int, float]]:
        """Yield the Shapley values of this leaf's indicator, times its value.

        Only sets of features whose answers lead here count, so that the sums over sets are the
        coefficients of a product of (share + y).
        """
        on = [share for _, share, mask, bits in self.path if answers & mask == bits]
        off = math.prod(share for _, share, mask, bits in self.path if answers & mask != bits)
        size = len(self.path)
        for feature, share, mask, bits in self.path:
            if answers & mask == bits:
                others = list(on)
                others.remove(share)
                yield feature, self.value * (1 - share) * off * _ordered(others, size)
            elif share:
                yield feature, -self.value * off * _ordered(on, size)


class Forest:
    """The sum of many trees, ready to explain leads quickly."""

    def __init__(self, trees: Sequence[Tree], features: int) -> None:
        self._leaves = [list(_leaves(tree)) for tree in trees]
        self._known: list[dict[int, Parts]] = [{} for _ in trees]
        self._features = [_Feature(number, trees) for number in range(features)]
        self.base = sum(
            leaf.value * math.prod(share for _, share, _, _ in leaf.path)
            for leaves in self._leaves
            for leaf in leaves
        )

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return what each feature adds to the base, in log-odds; NaN is a value that is not
        known."""
        answers = 0
        for feature, value in zip(self._features, row, strict=True):
            answers |= feature.answers(value)
        parts = [0.0] * len(row)
        for tree, given in enumerate(answers.to_bytes(len(self._leaves), "little")):
            known = self._known[tree].get(given)
            if known is None:
                known = self._known[tree][given] = _shapley(self._leaves[tree], given)
            for feature_number, part in known:
                parts[feature_number] += part
        return parts


class _Feature:
    """All splits on one feature, and which of them a value answers with yes: a bit each."""

    def __init__(self, number: int, trees: Sequence[Tree]) -> None:
        splits: dict[float, int] = {}
        self._missing = 0
        for index, tree in enumerate(trees):
            for bit, split in enumerate(tree.splits):
                node = tree.nodes[split]
                if node.feature == number:
                    mask = 1 << (8 * index + bit)
                    splits[node.threshold] = splits.get(node.threshold, 0) | mask
                    self._missing |= mask if node.missing_left else 0
        self._thresholds = sorted(splits)
        self._masks = [0]
        for threshold in reversed(self._thresholds):
            self._masks.append(self._masks[-1] | splits[threshold])
        self._masks.reverse()

    def answers(self, value: float) -> int:
        if value != value:
            return self._missing
        return self._masks[bisect_left(self._thresholds, value)]


def _shapley(leaves: Sequence[_Leaf], answers: int) -> Parts:
    sums: dict[int, float] = {}
    for leaf in leaves:
        for feature, part in leaf.parts(answers):
            sums[feature] = sums.get(feature, 0.0) + part
    return tuple(sums.items())


def _ordered(shares: Sequence[float], size: int) -> float:
    """Sum w(|set|, size) times the shares outside the set over all sets of these features."""
    coefficients = [1.0]
    for share in shares:
        lower = [share * c for c in coefficients] + [0.0]
        for power, c in enumerate(coefficients):
            lower[power + 1] += c
        coefficients = lower
    return sum(c * w for c, w in zip(coefficients, _ORDERS[size], strict=False))


def _leaves(tree: Tree) -> Iterator[_Leaf]:
    bits = {index: bit for bit, index in enumerate(tree.splits)}

    def walk(
        index: int, shares: dict[int, float], masks: dict[int, tuple[int, int]]
    ) -> Iterator[_Leaf]:
        node = tree.nodes[index]
        if node.is_leaf:
            yield _Leaf(node.value, shares, masks)
            return
        whole = tree.nodes[node.left].count + tree.nodes[node.right].count
        mask, answers = masks.get(node.feature, (0, 0))
        bit = 1 << bits[index]
        for child, answer in ((node.left, bit), (node.right, 0)):
            share = shares.get(node.feature, 1.0) * tree.nodes[child].count / whole
            yield from walk(
                child,
                shares | {node.feature: share},
                masks | {node.feature: (mask | bit, answers | answer)},
            )

    yield from walk(0, {}, {})
