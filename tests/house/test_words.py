"""Words: imperatives, the field's names, one class for a name, and SQL that says what it does."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.house.source import name, nodes, ours, project, tracked, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef
# A docstring that begins with one of these names a thing: a function's says what to do.
NOT_IMPERATIVE = {
    *("A", "All", "An", "Another", "Any", "As", "Both", "Each", "Every", "Everything", "Few"),
    *("Here", "How", "If", "It", "Its", "Many", "No", "Nothing", "One", "Our", "Some", "Somebody"),
    *("That", "The", "There", "These", "They", "This", "Those", "What", "When", "Where"),
    *("Whether", "Which", "Who", "Whoever", "Whose", "Why", "You", "Your"),
}
# Words of an old dialect, as a whole name; `docs/glossary.md` has the field's.
DIALECT = {
    *("told", "tell", "wanted", "opening", "ending", "kept", "made", "wired", "upto", "alike"),
    *("standing", "settle", "keeper", "rescuer"),
}
# An HTTP client has a `post`, and a list may have an order: only classes are not called so.
DIALECT_OF_CLASSES = DIALECT | {"post", "order"}
# To settle is the word for money, and for nothing else.
MONEY = {("settle", "activities/gateway/ports.py"), ("settle", "db/gateway/calls.py")}
MAX_PARAMETERS = 6
_STATEMENT = re.compile(r"\s*(?:--[^\n]*\s*)*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\b")
_SENTENCE = re.compile(r"\s*-- [A-Z](?:[^\n]|\n--)*\.\n")


def functions(module: ast.AST) -> Iterator[Function]:
    """Yield all functions and methods of a module."""
    return (node for node in ast.walk(module) if isinstance(node, Function))


def is_property(function: Function) -> bool:
    """Return whether a method is read like an attribute."""
    return any("property" in ast.unparse(each) for each in function.decorator_list)


def not_imperative(module: ast.Module) -> list[str]:
    """Return the public functions whose docstring names a thing."""
    return [
        each.name
        for each in functions(module)
        if not each.name.startswith("_") and not is_property(each)
        for first in (ast.get_docstring(each) or "").split()[:1]
        if first.rstrip(",.:") in NOT_IMPERATIVE
    ]


def parameters(function: Function) -> list[str]:
    """Return the names of a function's parameters."""
    every = function.args
    stars = [star for star in (every.vararg, every.kwarg) if star is not None]
    return [each.arg for each in (*every.posonlyargs, *every.args, *every.kwonlyargs, *stars)]


def dialect(module: ast.AST) -> set[str]:
    """Return the functions, parameters and classes of a module that an old word names."""
    calls = {each.name for each in functions(module)}
    calls |= {each for function in functions(module) for each in parameters(function)}
    classes = {each.name for each in ast.walk(module) if isinstance(each, ast.ClassDef)}
    old = {each.strip("_") for each in calls if each.strip("_") in DIALECT}
    return old | {each for each in classes if each.strip("_").lower() in DIALECT_OF_CLASSES}


def statements(module: ast.Module) -> dict[str, str]:
    """Return the SQL constants of a module; what an f-string puts in is left out."""
    found = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            texts = (str(each.value) for each in parts if isinstance(each, ast.Constant))
            if node.targets[0].id.isupper() and _STATEMENT.match(text := "…".join(texts)):
                found[node.targets[0].id] = text
    return found


def wrong_statements(module: ast.Module) -> list[str]:
    """Return the statements without a sentence, and those that not exactly one function runs. What
    other statements are put together from is no statement."""
    users: dict[str, set[str]] = defaultdict(set)
    for function in functions(module):
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                users[node.id].add(function.name)
    parts = {
        node.id
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Name)
    }
    return [
        constant
        for constant, text in statements(module).items()
        if not (constant in parts and not users[constant])
        and (len(users[constant]) != 1 or not _SENTENCE.match(text))
    ]


def test_docstrings_of_functions_are_imperatives() -> None:
    wrong = {name(path): found for path in ours() if (found := not_imperative(tree(path)))}

    assert wrong == {}


@pytest.mark.parametrize("text", ["What it is.", "The thing.", "A, with b.", "Whether it is so."])
def test_a_docstring_that_names_a_thing_is_noticed(text: str) -> None:
    assert not_imperative(ast.parse(f'class A:\n    def f(self):\n        """{text}"""')) == ["f"]


def test_no_class_has_the_name_of_another() -> None:
    places = defaultdict(list)
    for path in project():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name(path))

    assert len(places) > 400
    assert {kind: paths for kind, paths in places.items() if len(paths) > 1} == {}


def test_constructors_take_six_things_at_most() -> None:
    long = {
        f"{name(path)}:{kind.name}": len(parameters(each)) - 1
        for path in project()
        for kind in nodes(path)
        if isinstance(kind, ast.ClassDef)
        for each in kind.body
        if isinstance(each, Function)
        and each.name == "__init__"
        and len(parameters(each)) - 1 > MAX_PARAMETERS
    }

    assert long == {}


def test_each_statement_says_what_it_does_to_the_one_function_that_runs_it() -> None:
    paths = [path for path in tracked("db/*.py") if "migrations" not in path.parts]
    wrong = {name(path): found for path in paths if (found := wrong_statements(tree(path)))}

    assert sum(len(statements(tree(path))) for path in paths) > 150
    assert wrong == {}


@pytest.mark.parametrize(
    "planted",
    [
        '_A = "SELECT 1"\ndef f(): run(_A)',
        '_A = "-- Read it.\\nSELECT 1"',
        '_A = "-- Read it.\\nSELECT 1"\ndef f(): run(_A)\ndef g(): run(_A)',
        '_A = f"SELECT {B}"\ndef f(): run(_A)',
    ],
)
def test_a_statement_that_says_nothing_or_serves_two_is_noticed(planted: str) -> None:
    assert wrong_statements(ast.parse(planted)) == ["_A"]


def test_names_are_the_fields() -> None:
    old = {
        (word, name(path))
        for path in (*project(), *tracked("tests/*.py"))
        for word in dialect(tree(path))
    }

    assert old >= MONEY
    assert sorted(old - MONEY) == []
