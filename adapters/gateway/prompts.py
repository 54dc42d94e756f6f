"""Prompts from the files of the package `prompts`, read and checked when a process starts."""

import tomllib
from importlib.resources import files

from domain.gateway import prompts
from domain.gateway.errors import PromptInvalid
from domain.gateway.prompts import Prompt

_FENCE = "+++\n"


def prompt_files() -> dict[str, Prompt]:
    """Read every prompt, by its name; raises PromptInvalid that names the file."""
    entries = sorted(files("prompts").iterdir(), key=lambda file: file.name)
    texts = {f.name: f.read_text(encoding="utf-8") for f in entries if f.name.endswith(".md")}
    return {name.removesuffix(".md"): read(name, text) for name, text in texts.items()}


def read(file: str, text: str) -> Prompt:
    """Parse one prompt file; raises PromptInvalid."""
    try:
        start, head, body = text.split(_FENCE, 2)
        header = tomllib.loads(head)
        prompt = Prompt(
            name=header["name"],
            version=str(int(header["version"])),
            text=body.strip(),
            fields=frozenset(header["fields"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PromptInvalid(f"prompts/{file} cannot be read: {error}") from None
    if start or file != f"{prompt.name}.md":
        raise PromptInvalid(f"prompts/{file} must be named like its prompt.")
    prompts.check(prompt)
    return prompt
