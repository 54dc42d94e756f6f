"""The few stacks that all tests share, by what is special about their settings."""

import json
import sys

from testing.tool_servers import SERVERS

# Tools that ask, limits that are reached soon: what a person decides and what a clock decides.
_ODD = {
    "name": "odd",
    "command": [sys.executable, str(SERVERS / "odd_tools.py")],
    "tool_safety": {"echo": "safe", "wait": "keyed"},
}
GUARDED = {
    "PERDURE_ASK_FIRST": "delete_task",
    "PERDURE_DECISION_SECONDS": "8",
    "PERDURE_TURN_SECONDS": "8",
    "PERDURE_MAX_STEPS": "3",
    "PERDURE_BATCH_CHUNK": "2",
    "PERDURE_TOOL_SERVERS": json.dumps([_ODD]),
}
OFFLINE = {"PERDURE_MODEL": "offline/assistant"}
