"""Addresses: each module is layer / noun / part, as the committed list has it."""

import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from testing.stack import ROOT
from tests.house.source import FOLDERS, name, ours

_LISTED = Path(__file__).with_name("addresses.toml")


def listed() -> dict[str, set[str]]:
    """Return the addresses that may be, by noun, or by layer for what belongs to no noun."""
    tables: dict[str, Any] = tomllib.loads(_LISTED.read_text("utf-8"))
    parts = {
        noun: {f"{layer}/{noun}/{part}" for part, layers in own.items() for layer in layers}
        for noun, own in tables["nouns"].items()
    }
    flat = {layer: {f"{layer}/{part}" for part in own} for layer, own in tables["layers"].items()}
    return parts | flat


def existing() -> dict[str, set[str]]:
    """Return the addresses that there are."""
    addresses: dict[str, set[str]] = defaultdict(set)
    for path in ours():
        layer, *inner, _ = name(path).split("/")
        if path.stem != "__init__" and inner[:1] != ["migrations"]:
            addresses[inner[0] if inner else layer].add(name(path).removesuffix(".py"))
    return dict(addresses)


class TestAddresses:
    def test_every_module_stands_where_the_list_has_it(self) -> None:
        have, may = existing(), listed()

        assert sum(map(len, have.values())) > 200
        strays = {key: sorted(have[key] - may.get(key, set())) for key in have}
        assert {key: paths for key, paths in strays.items() if paths} == {}

    def test_the_list_has_nothing_that_is_gone(self) -> None:
        have, may = existing(), listed()

        gone = {key: sorted(may[key] - have.get(key, set())) for key in may}
        assert {key: paths for key, paths in gone.items() if paths} == {}

    def test_tests_stand_where_their_noun_does(self) -> None:
        nouns = {*tomllib.loads(_LISTED.read_text("utf-8"))["nouns"]}
        rings = ("unit", "workflows", "api", "crash")
        folders = {
            folder.name
            for ring in rings
            for folder in (ROOT / "tests" / ring).glob("[a-z]*")
            if folder.is_dir()
        }

        assert folders <= nouns
        assert not nouns & set(FOLDERS)
