"""The screen: a run's text as it streams in, right through retries."""

from collections.abc import Iterator

from rich.console import Console

from cli.client import Event

_NOTICES = {
    "model.switched": "{from} cannot answer ({code}): asking {to}",
    "model.cached": "answered before ({kind})",
    "model.degraded": "no model can answer ({code}): this stands in",
    "budget.warned": "the budget {budget_id} is nearly spent",
    "context.summarised": "the conversation so far was summed up",
}


class RunScreen:
    """The text of a run on the terminal, with a note of all else that happens in it.

    When a retry supersedes what was printed, its words are compared instead of printed again: the
    screen goes on where they go on, and starts a new line only if they differ.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = ""
        self._text = ""

    @property
    def text(self) -> str:
        return self._text

    def show(self, event: Event) -> None:
        """Show one event."""
        kind, data = event["type"], event["data"]
        if kind == "text.delta":
            self._text += data["text"]
            self._print_new()
        elif kind == "step.superseded":
            self._text = ""
        elif kind == "step.finished":
            self._end_step(data)
        elif kind == "tool.finished":
            self._note(f"{data['name']}: {data['status']}")
        elif kind in _NOTICES:
            self._interrupt()
            self._note(_NOTICES[kind].format(**data))
        elif kind == "run.finished" and data["error"]:
            self._note(f"{data['outcome']}: {data['error']['detail']}")

    def _print_new(self) -> None:
        if self._printed.startswith(self._text):
            return
        if not self._text.startswith(self._printed):
            self._console.print("\n", end="")
            self._printed = ""
        new_text = self._text[len(self._printed) :]
        self._console.print(new_text, end="", markup=False, highlight=False, soft_wrap=True)
        self._printed = self._text

    def _end_step(self, data: Event) -> None:
        if self._text:
            self._console.print()
        for call in data["tool_calls"]:
            arguments = ", ".join(f"{name}={value!r}" for name, value in call["arguments"].items())
            self._note(f"{call['name']}({arguments})")
        if data["tool_calls"]:
            self._text = self._printed = ""

    def _interrupt(self) -> None:
        """End the line, for a note must not stand in the middle of it; its words may come again."""
        if self._printed:
            self._console.print()
            self._printed = ""

    def _note(self, text: str) -> None:
        self._console.print(f"  · {text}", style="dim", markup=False, highlight=False)


def show(console: Console, events: Iterator[Event]) -> Event:
    """Show a run to its end, and return its last event."""
    screen = RunScreen(console)
    event: Event = {}
    for event in events:
        screen.show(event)
    return event
