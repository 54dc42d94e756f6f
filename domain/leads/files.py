"""Lead files: CSV and JSON Lines, read as they come in, with line numbers for what is wrong.

A column or key `id` is needed; `outcome` (won, lost), `outcome_at` and `outcome_value` say how it
ended; all others are the profile. In CSV these names may be written in capitals, numbers are
numbers, and an empty cell says nothing. The result does not depend on how the file is cut.
"""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from domain.leads.errors import FileInvalid
from domain.leads.leads import LeadId, LeadLine, LeadOutcome, Profile, RejectedLine

FileKind = Literal["csv", "jsonl"]
MAX_RECORD_BYTES = 256 * 1024
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?")
_OUTCOME = {"outcome": "outcome", "outcome_at": "when", "outcome_value": "value"}
_COLUMN_OF = {field: name for name, field in _OUTCOME.items()}
_RESERVED = {"id": "id", "lead_id": "id", **{name: name for name in _OUTCOME}}
_IDS = TypeAdapter(LeadId)
_NEVER_CLOSED = "a quote that opens here is not closed{within}: nothing behind it can be trusted"
# Python's own limit is one for all readers, and lower than a record may be long.
csv.field_size_limit(MAX_RECORD_BYTES)


class LeadFile:
    """One file, read piece by piece. `max_bytes` limits what is held of one record; `stopped` says
    where reading ended before the file did."""

    def __init__(self, kind: FileKind, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._kind = kind
        self._max_bytes = max_bytes
        self._line = 0
        self._columns: list[str] | None = None
        self._delimiter = ","
        self._begin_record()
        self.stopped: RejectedLine | None = None

    def feed(self, piece: bytes) -> Iterator[LeadLine | RejectedLine]:
        """Yield the lines that are complete now. Raises FileInvalid for a first line without
        `id`."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end + b"\n")
            yield from self._end_line()
        self._add(rest)

    def finish(self) -> Iterator[LeadLine | RejectedLine]:
        """Yield what is left at the end of the file. Raises FileInvalid."""
        if self._size:
            yield from self._end_line()
        if self._size:
            self._stop_open("")
        if self._kind == "csv" and self._columns is None and self.stopped is None:
            raise FileInvalid

    def _begin_record(self) -> None:
        self._record = bytearray()
        self._size = self._quotes = 0
        self._first = self._line + 1

    def _add(self, part: bytes) -> None:
        if self.stopped is not None:
            return
        self._record += part[: self._max_bytes - len(self._record)]
        self._size += len(part)
        if self._kind == "csv":
            self._quotes += part.count(b'"')

    def _end_line(self) -> Iterator[LeadLine | RejectedLine]:
        if self.stopped is not None:
            return
        self._line += 1
        if self._quotes % 2 == 0:
            raw, size, first = bytes(self._record), self._size, self._first
            self._begin_record()
            yield from self._read(first, raw, size)
        elif self._size > self._max_bytes:
            self._stop_open(f" within {self._max_bytes // 1024} KiB")

    def _read(self, line: int, raw: bytes, size: int) -> Iterator[LeadLine | RejectedLine]:
        if size > self._max_bytes:
            if self._kind == "csv" and self._columns is None:
                raise FileInvalid
            yield _rejected(line, f"longer than {self._max_bytes // 1024} KiB", raw)
        elif not raw.strip():
            return
        elif self._kind == "jsonl":
            yield _from_json(line, raw)
        else:
            yield from self._read_cells(line, raw)

    def _read_cells(self, line: int, raw: bytes) -> Iterator[LeadLine | RejectedLine]:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8", errors="surrogateescape")
        if self._columns is None:
            self._delimiter = max(",;\t", key=text.count)
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            self._stop(line, f"the quotes are broken ({error})", raw)
            return
        if self._columns is None:
            self._columns = _columns(cells)
        else:
            yield _from_cells(line, raw, self._columns, cells)

    def _stop_open(self, within: str) -> None:
        self._stop(self._first, _NEVER_CLOSED.format(within=within), bytes(self._record))

    def _stop(self, line: int, reason: str, raw: bytes) -> None:
        self._begin_record()
        self.stopped = _rejected(line, reason, raw)


def _columns(cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    columns = [_RESERVED.get(column.lower(), column) for column in columns]
    if columns.count("id") != 1 or len(set(columns)) != len(columns) or "" in columns:
        raise FileInvalid
    return columns


def _from_cells(
    line: int, raw: bytes, columns: list[str], cells: list[str]
) -> LeadLine | RejectedLine:
    if len(cells) != len(columns):
        return _rejected(line, f"{len(cells)} cells for {len(columns)} columns", raw)
    return _row(line, raw, dict(zip(columns, map(_value, columns, cells), strict=True)))


def _value(column: str, cell: str) -> Any:
    text = cell.strip()
    if not text:
        return None
    if column != "outcome_at" and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _from_json(line: int, raw: bytes) -> LeadLine | RejectedLine:
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


def _row(line: int, raw: bytes, values: dict[str, Any]) -> LeadLine | RejectedLine:
    given = {name: value for name, value in values.items() if value is not None}
    outcome = {field: given.pop(name) for name, field in _OUTCOME.items() if name in given}
    if outcome and "outcome" not in outcome:
        return _rejected(line, f"{_COLUMN_OF[min(outcome)]}: there is no outcome", raw)
    lead_id = given.pop("id", given.pop("lead_id", ""))
    try:
        return LeadLine.model_construct(
            line=line,
            id=_IDS.validate_python(str(lead_id)),
            profile=Profile.model_validate(given).stored,
            outcome=LeadOutcome.model_validate(outcome) if outcome else None,
        )
    except ValidationError as error:
        return _rejected(line, _reason(error), raw)


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(_COLUMN_OF.get(str(part), str(part)) for part in first["loc"])
    where = where or ("id" if "pattern" in first["type"] else "row")
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _rejected(line: int, reason: str, raw: bytes) -> RejectedLine:
    text = raw.decode("utf-8", errors="replace").rstrip("\r\n").replace("\0", "�")
    return RejectedLine(line=line, reason=reason, text=text)
