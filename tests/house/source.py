"""The project's own files, each read and parsed once."""

import ast
import subprocess
from functools import cache
from pathlib import Path

from testing.stack import ROOT

FOLDERS = ("domain", "workflows", "activities", "adapters", "db", "workers", "api", "cli")


@cache
def tracked(pattern: str = "*") -> list[Path]:
    """List the files that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file()]


def ours() -> list[Path]:
    """List the modules of the product."""
    return [path for path in tracked("*.py") if name(path).split("/")[0] in FOLDERS]


def project() -> list[Path]:
    """List the modules of the product, of what tests it and of what measures it."""
    rooms = (*FOLDERS, "testing", "benchmarks")
    return [path for path in tracked("*.py") if name(path).split("/")[0] in rooms]


def name(path: Path) -> str:
    """Return a file's path in the repository."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return a module's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a module's syntax."""
    return list(ast.walk(tree(path)))
