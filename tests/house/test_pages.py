"""The pages that are made from the code are those of this code."""

import pytest

from docs.pages import ROOT, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_says(name: str) -> None:
    """`make docs` has been run since the last change of errors, events or settings."""
    assert (ROOT / "docs" / name).read_text("utf-8") == PAGES[name], "run `make docs`"


def test_every_error_and_event_and_setting_is_on_its_page() -> None:
    from docs.pages import error_classes
    from domain.runs.events import EventType
    from domain.settings import Settings

    assert all(f"| `{kind.code}` |" in PAGES["errors.md"] for kind in error_classes())
    assert all(f"| `{event}` |" in PAGES["events.md"] for event in EventType)
    assert PAGES["settings.md"].count("\n| ") == len(Settings.model_fields) + 2
    assert all(field.description for field in Settings.model_fields.values())
