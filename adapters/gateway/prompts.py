"""Prompts from the files of the package `prompts`, read and checked when a process starts."""

import tomllib
from importlib.resources import files

from domain.errors import Invalid
from domain.gateway import prompts
from domain.gateway.prompts import Prompt

_FENCE = "+++\n"


def prompt_files() -> dict[str, Prompt]:
    """Every prompt by its name; raises Invalid (`prompt_invalid`) that names the file."""
    found = sorted(files("prompts").iterdir(), key=lambda file: file.name)
    texts = {f.name: f.read_text(encoding="utf-8") for f in found if f.name.endswith(".md")}
    return {name.removesuffix(".md"): read(name, text) for name, text in texts.items()}


def read(file: str, text: str) -> Prompt:
    """One prompt file; raises Invalid (`prompt_invalid`)."""
    try:
        start, head, body = text.split(_FENCE, 2)
        said = tomllib.loads(head)
        prompt = Prompt(
            name=said["name"],
            version=str(int(said["version"])),
            text=body.strip(),
            fields=frozenset(said["fields"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"prompts/{file} cannot be read: {error}", code="prompt_invalid") from None
    if start or file != f"{prompt.name}.md":
        raise Invalid(f"prompts/{file} must be named like its prompt.", code="prompt_invalid")
    prompts.check(prompt)
    return prompt
