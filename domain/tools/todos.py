"""Tasks: a user's to-do list, numbered 1, 2, 3 … as a person says "task 3"."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from domain.base import Contract

TaskTitle = Annotated[str, Field(min_length=1, max_length=500)]


class Task(Contract):
    """One task. Its number is its user's own count and is never given away again."""

    number: int
    title: str
    completed: bool
    created_at: datetime
    completed_at: datetime | None
