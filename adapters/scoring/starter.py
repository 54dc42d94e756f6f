"""Rules from the files of the package `rules`."""

from importlib.resources import files
from typing import Any

from domain.scoring.models import rules_of


def starter_rules() -> dict[str, Any]:
    """Return the definition of the rule set that comes with Perdure. Raises RulesInvalid."""
    return rules_of((files("rules") / "starter.toml").read_text(encoding="utf-8"))
