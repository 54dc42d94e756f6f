"""Accepting: a run goes into the record and is started, and the caller hears where it is."""

import hashlib
import re
import uuid
from typing import Annotated

import orjson
from fastapi import Depends, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.state import State
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


async def start(parts: State, launch: RunSpec | None) -> str | None:
    """Start a run that was accepted, if there is one to start; its id."""
    if launch is None:
        return None
    await parts.launcher.launch(launch)
    return launch.run.run_id


async def accepted(parts: State, launch: RunSpec, body: BaseModel) -> JSONResponse:
    """Take a run in, start it and say so: 202. Raises Invalid (`key_reused`)."""
    await parts.launches.accept(launch.model_copy(update={"digest": digest_of(body)}))
    await parts.launcher.launch(launch)
    said = RunAccepted(run_id=launch.run.run_id)
    return JSONResponse(said.model_dump(), 202, headers_of(launch.run))


def headers_of(run: RunRef) -> dict[str, str]:
    """Where a run is."""
    return {"Location": f"/api/v1/runs/{run.run_id}", "X-Run-Id": run.run_id}
