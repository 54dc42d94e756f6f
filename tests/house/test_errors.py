"""Errors: each code belongs to one class, which says in a sentence what went wrong."""

import ast
import re
from collections import Counter, defaultdict

from docs.pages import ROOT, all_errors, error_classes, sources

# What a class has once and for all is not said again where it is raised.
OF_THE_CLASS = {"code", "retryable"}


def test_each_code_belongs_to_one_class() -> None:
    """A client that knows the code knows the error, and so does whoever catches its class."""
    codes = Counter(kind.code for kind in error_classes())

    assert len(codes) > 70
    assert {code: count for code, count in codes.items() if count > 1} == {}


def test_a_code_is_words() -> None:
    codes = [kind.code for kind in error_classes()]

    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)+", code)] == []


def test_a_class_says_a_sentence() -> None:
    """The first paragraph of the docstring is what people read."""
    sentences = {kind.__name__: kind.sentence() for kind in error_classes()}

    assert {name: text for name, text in sentences.items() if not _is_sentence(text)} == {}


def test_a_code_is_said_by_the_class_and_not_where_it_is_raised() -> None:
    names = {kind.__name__ for kind in all_errors()}
    offenders = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in names
                and OF_THE_CLASS & {keyword.arg for keyword in node.keywords}
            ):
                offenders[path.relative_to(ROOT).as_posix()].append(node.lineno)

    assert dict(offenders) == {}


def _is_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith((".", "?")) and 10 < len(text) < 200
