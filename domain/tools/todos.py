"""To-dos: a user's list of tasks, numbered 1, 2, 3 … as a person says "task 3"."""

from datetime import datetime

from domain.base import Contract


class Todo(Contract):
    """One thing to do. Its number is its user's own count and is never given away again."""

    number: int
    title: str
    completed: bool
    created_at: datetime
    completed_at: datetime | None
