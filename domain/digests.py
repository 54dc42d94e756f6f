"""Digests: what binds a decision to exactly the arguments that a person was shown."""

import hashlib
import json
from typing import Any


def digest_of(tool: str, arguments: dict[str, Any]) -> str:
    """SHA-256 of the tool's name and its arguments in canonical JSON, as hexadecimal text."""
    canonical = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
