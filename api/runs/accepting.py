"""Accepting: a run goes into the record and is started, and the caller hears where it is."""

import hashlib
import re
import uuid
from typing import Annotated

import orjson
from fastapi import Depends, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.runs.launching import Launcher
from db.runs.launched import LaunchedRuns
from domain.names import ID_PATTERN
from domain.runs.runs import RunRef, RunSpec


class RunAccepted(BaseModel):
    """The run that does what was asked for; its events tell how far it is."""

    run_id: str


async def key(
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> str:
    """The part of a run's id that an `Idempotency-Key` stands for, or a new one: the same key is
    the same run."""
    return key_of(idempotency_key) or uuid.uuid4().hex[:16]


Key = Annotated[str, Depends(key)]


def key_of(idempotency_key: str | None) -> str | None:
    """The part of an id that an `Idempotency-Key` of any form stands for."""
    if not idempotency_key:
        return None
    if re.fullmatch(ID_PATTERN, idempotency_key):
        return idempotency_key
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def digest_of(body: BaseModel) -> str:
    """What tells one order from another, to know a key that was used for something else."""
    said = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()


class RunStarter:
    """Takes runs into the record, and starts them."""

    def __init__(self, launches: LaunchedRuns, launcher: Launcher) -> None:
        self._launches = launches
        self._launcher = launcher

    async def accept(self, spec: RunSpec, body: BaseModel) -> JSONResponse:
        """Take a run in, start it and answer 202 with its id. Raises KeyReused."""
        await self._launches.accept(spec.model_copy(update={"digest": digest_of(body)}))
        await self._launcher.launch(spec)
        accepted = RunAccepted(run_id=spec.run.run_id)
        return JSONResponse(accepted.model_dump(), 202, headers_of(spec.run))

    async def start(self, spec: RunSpec | None) -> str | None:
        """Start a run that is in the record already, and return its id; None is none to start."""
        if spec is None:
            return None
        await self._launcher.launch(spec)
        return spec.run.run_id


def headers_of(run: RunRef) -> dict[str, str]:
    """Return the headers that say where a run is."""
    return {"Location": f"/api/v1/runs/{run.run_id}", "X-Run-Id": run.run_id}
