"""Accepting: a run goes into the record and is started, and the answer says where it is."""

import hashlib
import re
import uuid
from typing import Annotated

import orjson
from fastapi import Depends, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.runs.launching import Launcher
from db.runs.runs import Runs
from domain.names import ID_PATTERN
from domain.runs.runs import RunRef, RunSpec


class RunAccepted(BaseModel):
    """The run that does what the request says; its events show how far it is."""

    run_id: str


async def key(
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> str:
    """Return the part of a run's id that an `Idempotency-Key` stands for, or a new one: the same
    key is the same run."""
    return key_of(idempotency_key) or uuid.uuid4().hex[:16]


Key = Annotated[str, Depends(key)]


def key_of(idempotency_key: str | None) -> str | None:
    """Return the part of an id that an `Idempotency-Key` of any form stands for."""
    if not idempotency_key:
        return None
    if re.fullmatch(ID_PATTERN, idempotency_key):
        return idempotency_key
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def request_digest(body: BaseModel) -> str:
    """Return what distinguishes one request from another, to know a key that was used twice."""
    canonical = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


class RunStarter:
    """Takes runs into the record, and starts them."""

    def __init__(self, runs: Runs, launcher: Launcher) -> None:
        self._runs = runs
        self._launcher = launcher

    async def accept(self, spec: RunSpec, body: BaseModel) -> JSONResponse:
        """Take a run in, start it and answer 202 with its id. Raises KeyReused."""
        await self._runs.accept(spec.model_copy(update={"digest": request_digest(body)}))
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
