"""Lead files: CSV and JSON Lines, read as they come in, with line numbers for what is wrong.

A column or key `id` is needed; `outcome` (won, lost), `outcome_at` and `outcome_value` say how it
ended; all others are the profile. In CSV numbers are numbers, and an empty cell says nothing.
"""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from domain.errors import Invalid
from domain.leads import LeadId, LeadOutcome, LeadRow, Profile, Rejected

FileKind = Literal["csv", "jsonl"]
_MOST_RECORD_BYTES = 256 * 1024
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?")
_OUTCOME = {"outcome": "outcome", "outcome_at": "when", "outcome_value": "value"}
_IDS = TypeAdapter(LeadId)
_NEVER_CLOSED = "a quote that opens here is not closed: nothing behind it can be trusted"


class LeadFile:
    """One file. `stopped` says where reading ended before the file did."""

    def __init__(self, kind: FileKind) -> None:
        self._kind = kind
        self._rest = b""
        self._line = 0
        self._columns: list[str] | None = None
        self._delimiter = ","
        self._record: list[bytes] = []
        self._quotes = self._size = 0
        self.stopped: Rejected | None = None

    def feed(self, piece: bytes) -> Iterator[LeadRow | Rejected]:
        """What can be read now; raises Invalid (`file_invalid`) for a first line without `id`."""
        self._rest += piece
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            yield from self._take(line + b"\n")
        if len(self._rest) > _MOST_RECORD_BYTES:
            self._stop(self._line + 1, "the line is too long", self._rest)

    def finish(self) -> Iterator[LeadRow | Rejected]:
        """What is left at the end of the file; raises as `feed`."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._take(rest)
        if self._record and self.stopped is None:
            self._stop(self._line - len(self._record) + 1, _NEVER_CLOSED, b"".join(self._record))
        if self._kind == "csv" and self._columns is None and self.stopped is None:
            raise _no_columns()

    def _take(self, line: bytes) -> Iterator[LeadRow | Rejected]:
        if self.stopped is not None:
            return
        self._line += 1
        if self._kind == "jsonl":
            if line.strip():
                yield _from_json(self._line, line)
            return
        self._record.append(line)
        self._quotes += line.count(b'"')
        self._size += len(line)
        if self._quotes % 2 == 0:
            yield from self._close_record()
        elif self._size > _MOST_RECORD_BYTES:
            first = self._line - len(self._record) + 1
            self._stop(first, _NEVER_CLOSED, b"".join(self._record))

    def _close_record(self) -> Iterator[LeadRow | Rejected]:
        raw, first = b"".join(self._record), self._line - len(self._record) + 1
        self._record, self._quotes, self._size = [], 0, 0
        if not raw.strip():
            return
        text = raw.decode("utf-8-sig" if first == 1 else "utf-8", errors="surrogateescape")
        if self._columns is None:
            self._delimiter = max(",;\t", key=text.count)
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            self._stop(first, f"the quotes are broken ({error})", raw)
            return
        if self._columns is None:
            self._columns = _columns(cells)
        else:
            yield _from_cells(first, raw, self._columns, cells)

    def _stop(self, line: int, reason: str, raw: bytes) -> None:
        self._record, self._rest = [], b""
        self.stopped = _rejected(line, reason, raw)


def _columns(cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    columns = ["id" if column.lower() in ("id", "lead_id") else column for column in columns]
    if columns.count("id") != 1 or len(set(columns)) != len(columns) or "" in columns:
        raise _no_columns()
    return columns


def _no_columns() -> Invalid:
    return Invalid(
        "The first line must name the columns, each once, and one of them `id`.",
        code="file_invalid",
    )


def _from_cells(line: int, raw: bytes, columns: list[str], cells: list[str]) -> LeadRow | Rejected:
    if len(cells) != len(columns):
        return _rejected(line, f"{len(cells)} cells for {len(columns)} columns", raw)
    return _row(line, raw, dict(zip(columns, map(_value, cells), strict=True)))


def _value(cell: str) -> Any:
    text = cell.strip()
    if not text:
        return None
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _from_json(line: int, raw: bytes) -> LeadRow | Rejected:
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        return _rejected(line, "this is not JSON", raw)
    if not isinstance(values, dict):
        return _rejected(line, "this is not an object", raw)
    profile = values.pop("profile", {})
    if not isinstance(profile, dict):
        return _rejected(line, "profile: this is not an object", raw)
    return _row(line, raw, profile | values)


def _row(line: int, raw: bytes, values: dict[str, Any]) -> LeadRow | Rejected:
    given = {name: value for name, value in values.items() if value is not None}
    ended = {ours: given.pop(name) for name, ours in _OUTCOME.items() if name in given}
    lead_id = given.pop("id", given.pop("lead_id", ""))
    try:
        return LeadRow.model_construct(
            line=line,
            id=_IDS.validate_python(str(lead_id)),
            profile=Profile.model_validate(given).stored,
            outcome=LeadOutcome.model_validate(ended) if "outcome" in ended else None,
        )
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"])) or ("id" if "pattern" in found["type"] else "row")
        return _rejected(line, f"{where}: {found['msg']}", raw)


def _rejected(line: int, reason: str, raw: bytes) -> Rejected:
    text = raw.decode("utf-8", errors="replace").rstrip("\r\n").replace("\0", "�")
    return Rejected(line=line, reason=reason, text=text)
