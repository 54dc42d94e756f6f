"""Chat: what a person notices of a turn, on a real stack."""

from tests.stack import Stack, shown_text


class TestTurn:
    def test_the_streamed_text_is_the_stored_answer(self, stack: Stack) -> None:
        api = stack.client()
        thread = api.thread()

        events = api.ask("tell me something", thread)

        answer = api.messages(thread)[-1]
        assert answer["role"] == "assistant"
        assert shown_text(events) == answer["text"] == events[-1].data["text"] != ""
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
