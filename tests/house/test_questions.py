"""Questions: where the answers stand, and that the pages lead there."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from testing.stack import ROOT

QUESTIONS: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("questions.toml").read_text("utf-8")
)["question"]


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def test_there_are_twelve() -> None:
    assert len({question["ask"] for question in QUESTIONS}) == 12


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question["ask"]))
def test_the_answer_is_three_openings_away(question: dict[str, Any]) -> None:
    """Each page of the way names the next one, and the last one the file that has the line."""
    way, file = question["way"], question["file"]

    assert question["line"] in text(file)
    assert way[0] == "README.md"
    assert len([*way, file]) <= 3
    for page, following in zip(way, [*way[1:], file], strict=True):
        assert following in text(page) or Path(following).name in text(page)
