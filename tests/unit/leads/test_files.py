"""Lead files: what is read of them, and what is said of the rest."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leads.errors import FileInvalid
from domain.leads.files import FileKind, LeadFile
from domain.leads.leads import LeadLine, RejectedLine


def read(
    text: str | bytes, kind: FileKind = "csv", piece: int = 7, max_bytes: int = 256 * 1024
) -> tuple[list[LeadLine], list[RejectedLine], RejectedLine | None]:
    """A file that comes in small pieces."""
    data = text.encode() if isinstance(text, str) else text
    file, items = LeadFile(kind, max_bytes), list[LeadLine | RejectedLine]()
    for start in range(0, len(data), piece):
        items += file.feed(data[start : start + piece])
    items += file.finish()
    rows = [item for item in items if isinstance(item, LeadLine)]
    return rows, [item for item in items if isinstance(item, RejectedLine)], file.stopped


class TestCsv:
    def test_columns_become_a_profile_and_numbers_numbers(self) -> None:
        rows, bad, stopped = read(
            "\ufeffid,name,size,zip,outcome,outcome_value,budget\r\n"
            'a,"Ann, ""the boss""\nof it",50,01234,won,9.5,1.25\r\n'
            "b,,,,,,\r\n"
        )

        assert (bad, stopped) == ([], None)
        assert rows[0].profile == {
            "name": 'Ann, "the boss"\nof it',
            "size": 50,
            "zip": "01234",
            "budget": 1.25,
        }
        assert rows[0].outcome is not None
        assert (rows[0].outcome.outcome, rows[0].outcome.value) == ("won", 9.5)
        assert rows[1].profile == {}

    def test_bad_lines_are_reported_by_number_and_the_rest_is_read(self) -> None:
        rows, bad, stopped = read(
            b"id;size;outcome\n1;5;won\n2;many;won\n3;5\n;5;won\nx y;5;won\n4;5;maybe\n"
            b"\xff\xfe;1;won\n5;6;lost\n"
        )

        assert [row.id for row in rows] == ["1", "5"]
        reasons = {item.line: item.reason.split(":")[0] for item in bad}
        assert reasons[3] == "size"
        assert reasons[4] == "2 cells for 3 columns"
        assert (reasons[5], reasons[6], reasons[7]) == ("id", "id", "outcome")
        assert stopped is None

    @pytest.mark.parametrize(
        ("cell", "at"),
        [
            ("2026-01-15", datetime(2026, 1, 15, tzinfo=UTC)),
            ("2026-01-15T09:30:00+01:00", datetime(2026, 1, 15, 8, 30, tzinfo=UTC)),
        ],
    )
    def test_a_date_is_the_moment_it_says(self, cell: str, at: datetime) -> None:
        (row,), bad, _ = read(f"id,outcome,outcome_at\na,won,{cell}\n")

        assert bad == []
        assert row.outcome is not None
        assert row.outcome.when == at

    @pytest.mark.parametrize("cell", ["20260115", "2026", "1767225600", "46037.5", "15.01.2026"])
    def test_what_could_be_any_date_is_refused_with_an_example(self, cell: str) -> None:
        rows, bad, _ = read(f"id,outcome,outcome_at\na,won,{cell}\nb,won,\n")

        assert [row.id for row in rows] == ["b"]
        assert bad[0].reason.startswith("outcome_at: a time is an ISO date")
        assert "2026-01-15" in bad[0].reason

    def test_the_end_needs_an_outcome(self) -> None:
        rows, bad, _ = read("id,outcome,outcome_at,outcome_value\na,,2026-01-15,\nb,,,5\nc,,,\n")

        assert [row.id for row in rows] == ["c"]
        assert [item.reason for item in bad] == [
            "outcome_at: there is no outcome",
            "outcome_value: there is no outcome",
        ]

    def test_our_own_columns_are_known_in_capitals(self) -> None:
        (row,), _, _ = read("ID,Outcome,OUTCOME_AT,Outcome_Value,Size\na,won,2026-01-15,9,5\n")

        assert (row.id, row.profile) == ("a", {"Size": 5})
        assert row.outcome is not None
        assert (row.outcome.outcome, row.outcome.value) == ("won", 9)
        with pytest.raises(FileInvalid, match="each once"):
            read("id,outcome,Outcome\na,won,lost\n")

    @pytest.mark.parametrize("piece", [1_000, 64 * 1024, 10**6])
    def test_a_long_cell_is_a_bad_line_and_no_broken_quote(self, piece: int) -> None:
        deep = "y\n" * 100_000
        lines = ["id,note", f'1,"{"x" * 200_000}"', f'2,"{deep}"', f"3,{'z' * 300_000}", '4,"a"']
        never = [*lines[:2], f'2,"{"y" * 300_000}', '4,"a"']

        rows, bad, stopped = read("\n".join(lines), piece=piece)
        cut, _, end = read("\n".join(never), piece=piece)

        assert [row.id for row in rows] == ["4"]
        assert [(item.line, item.reason) for item in bad] == [
            (2, "row: a profile may have 32 KiB"),
            (3, "row: a profile may have 32 KiB"),
            (100_004, "longer than 256 KiB"),
        ]
        assert stopped is None
        assert cut == []
        assert end is not None
        assert (end.line, "not closed within 256 KiB" in end.reason) == (3, True)

    @pytest.mark.parametrize("end", ["", '7,"x\n', "\n" * 400_000])
    def test_a_quote_that_is_never_closed_stops_there(self, end: str) -> None:
        rows, bad, stopped = read(f'id,name\n1,A\n2,B\n3,"C\n4,D\n5,E\n{end}', piece=10_000)

        assert [row.id for row in rows] == ["1", "2"]
        assert bad == []
        assert stopped is not None
        assert stopped.line == 4
        assert "not closed" in stopped.reason or "broken" in stopped.reason

    @pytest.mark.parametrize(
        "text", ["", "name,size\na,1\n", "id,id\n1,2\n", "id,,x\n", f"id,{'x' * 300_000}\n"]
    )
    def test_a_file_without_ids_is_refused(self, text: str) -> None:
        with pytest.raises(FileInvalid, match="name the columns"):
            read(text)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)),
        st.integers(1, 40),
    )
    def test_what_a_csv_writer_writes_is_read_back(self, names: list[str], piece: int) -> None:
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerows([["id", "note"], *([f"l{n}", f"x{name}"] for n, name in enumerate(names))])

        rows, bad, stopped = read(text.getvalue(), piece=piece)

        assert (bad, stopped) == ([], None)
        assert [row.profile["note"] for row in rows] == [f"x{name}".strip() for name in names]


class TestJsonLines:
    def test_flat_and_nested_objects_are_leads(self) -> None:
        rows, bad, _ = read(
            '{"id": "a", "name": "Ann", "more": {"deep": [1]}}\n\n'
            '{"id": "b", "profile": {"size": 3}, "outcome": "lost"}\n'
            '{"id": "deep", "x": ' + "[" * 900 + "]" * 900 + "}\n"
            '{"id": "large", "x": 99999999999999999999}\n'
            '{"id": "c", "profile": 3}\n[1]\n{"id"\n{"size": 3}\n{"id": "d", "name": "a\\u0000b"}',
            "jsonl",
        )

        assert rows[0].profile == {"name": "Ann", "more": {"deep": [1]}}
        assert rows[1].outcome is not None
        assert [item.line for item in bad] == [4, 5, 6, 7, 8, 9, 10]

    @pytest.mark.parametrize("piece", [1_000, 64 * 1024, 256 * 1024, 10**6])
    def test_a_long_line_is_rejected_and_the_next_is_read(self, piece: int) -> None:
        long = f'{{"id": "b", "x": "{"y" * 340_000}"}}'
        text = f'{{"id": "a"}}\n{long}\n{{"id": "c"}}\n{long}'

        rows, bad, stopped = read(text, "jsonl", piece)

        assert [row.id for row in rows] == ["a", "c"]
        assert [(item.line, item.reason) for item in bad] == [
            (2, "longer than 256 KiB"),
            (4, "longer than 256 KiB"),
        ]
        assert long.startswith(bad[0].text)
        assert stopped is None

    @pytest.mark.parametrize("time", [20260115, 1767225600.5, True, "20260115", "noon"])
    def test_a_time_is_never_guessed(self, time: object) -> None:
        line = json.dumps({"id": "a", "outcome": "won", "outcome_at": time})

        rows, bad, _ = read(line, "jsonl")

        assert rows == []
        assert "outcome_at: a time is an ISO date" in bad[0].reason


_LINES = st.one_of(
    st.integers(0, 60).map(lambda size: f"a,{'x' * size}"),
    st.integers(0, 60).map(lambda size: f'{{"id": "a", "x": "{"y" * size}"}}'),
    st.text('ab,"\n\r{} ', max_size=50),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_LINES, max_size=8), st.sampled_from(["csv", "jsonl"]), st.integers(1, 90))
def test_how_a_file_is_cut_changes_nothing(lines: list[str], kind: FileKind, piece: int) -> None:
    text = "\n".join(["id,x", *lines])

    assert read(text, kind, piece, max_bytes=40) == read(text, kind, len(text), max_bytes=40)
