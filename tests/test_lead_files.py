"""Lead files: what is read of them, and what is said of the rest."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.lead_files import FileKind, LeadFile
from domain.leads import LeadRow, Rejected


def read(
    text: str | bytes, kind: FileKind = "csv", piece: int = 7
) -> tuple[list[LeadRow], list[Rejected], Rejected | None]:
    """A file that comes in small pieces."""
    data = text.encode() if isinstance(text, str) else text
    file, found = LeadFile(kind), list[LeadRow | Rejected]()
    for start in range(0, len(data), piece):
        found += file.feed(data[start : start + piece])
    found += file.finish()
    rows = [item for item in found if isinstance(item, LeadRow)]
    return rows, [item for item in found if isinstance(item, Rejected)], file.stopped


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

    def test_bad_lines_are_told_by_number_and_the_rest_is_read(self) -> None:
        rows, bad, stopped = read(
            b"id;size;outcome\n1;5;won\n2;many;won\n3;5\n;5;won\nx y;5;won\n4;5;maybe\n"
            b"\xff\xfe;1;won\n5;6;lost\n"
        )

        assert [row.id for row in rows] == ["1", "5"]
        told = {item.line: item.reason.split(":")[0] for item in bad}
        assert told[3] == "size"
        assert told[4] == "2 cells for 3 columns"
        assert (told[5], told[6], told[7]) == ("id", "id", "outcome")
        assert stopped is None

    @pytest.mark.parametrize("end", ["", '7,"x\n', "\n" * 400_000])
    def test_a_quote_that_is_never_closed_stops_there(self, end: str) -> None:
        rows, bad, stopped = read(f'id,name\n1,A\n2,B\n3,"C\n4,D\n5,E\n{end}', piece=10_000)

        assert [row.id for row in rows] == ["1", "2"]
        assert bad == []
        assert stopped is not None
        assert stopped.line == 4
        assert "not closed" in stopped.reason or "broken" in stopped.reason

    @pytest.mark.parametrize("text", ["", "name,size\na,1\n", "id,id\n1,2\n", "id,,x\n"])
    def test_a_file_without_ids_is_refused(self, text: str) -> None:
        with pytest.raises(Invalid, match="name the columns"):
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
