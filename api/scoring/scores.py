"""Scores: a lead scored on demand, its score and history, and new scores as they come."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from api.deps import SUBPROTOCOL, Parts, requires
from api.runs.accepting import Key, RunAccepted, accepted, headers_of
from api.runs.sockets import send_events
from api.state import State
from db.runs.feeds import scores_of
from domain.base import StrictModel
from domain.errors import Conflict
from domain.identity.principals import Principal, Scope
from domain.leads.leads import LeadId
from domain.names import ID_PATTERN
from domain.runs.runs import Outcome, RunRef
from domain.scoring.experiments import ModelId
from domain.scoring.scores import CurrentScore, LeadScored, score_run_id, score_spec

router = APIRouter(tags=["scoring"])
Reader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]
After = Annotated[int | None, Query(ge=0, le=2**31 - 1)]
_PATH = "/api/v1/ai/scoring"
_MOST_WAIT_SECONDS = 60
_STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class ScoreCreate(StrictModel):
    """Which lead to score, and by which model; without one, as the tenant scores."""

    lead_id: LeadId
    model: ModelId | None = None


@router.post(f"{_PATH}/leads", status_code=202, response_model=RunAccepted | LeadScored)
async def score(
    body: ScoreCreate,
    caller: Writer,
    parts: Parts,
    key: Key,
    prefer: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Score one lead: 202 with the run, or with `Prefer: wait=N` (seconds, RFC 7240) the score
    itself if it comes in time."""
    await parts.leads.read(caller, body.lead_id)
    await parts.scores.check(caller, body.model)
    run = RunRef(tenant_id=caller.tenant_id, run_id=score_run_id(body.lead_id, key))
    why = f"{caller.user_id:.60} asks"
    answer = await accepted(
        parts, score_spec(run, caller.user_id, body.lead_id, why, body.model), body
    )
    seconds = _wait(prefer)
    if not seconds or not await _ended(parts, run, seconds):
        return answer
    scored = await parts.scores.of_run(caller, run.run_id)
    headers = headers_of(run) | {"Preference-Applied": f"wait={seconds}"}
    return JSONResponse(scored.model_dump(mode="json"), 200, headers)


@router.get(f"{_PATH}/leads/{{lead_id}}")
async def read(
    lead_id: Annotated[str, Path(pattern=ID_PATTERN)],
    caller: Reader,
    parts: Parts,
    shadows: bool = False,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> CurrentScore:
    """A lead's score as it stands with its reasons, and the scores before it, the latest first;
    with `shadows` also those that nobody is shown."""
    await parts.leads.read(caller, lead_id)
    return await parts.scores.current(caller, lead_id, cursor=cursor, limit=limit, hidden=shadows)


@router.get(f"{_PATH}/stream", response_model=None)
async def stream(
    caller: Reader,
    parts: Parts,
    after: After = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    """The tenant's new scores as server-sent events, from now on or behind `Last-Event-ID`. Scores
    of batches are told by their batch."""
    behind = after if after is not None else _seq(last_event_id)
    start = await _start(parts, caller, behind)
    frames = parts.hub.stream(scores_of(caller.tenant_id), start)
    return StreamingResponse(frames, media_type="text/event-stream", headers=_STREAM_HEADERS)


@router.websocket("/ws/ai/scoring")
async def socket(socket: WebSocket, caller: Reader, parts: Parts, after: After = None) -> None:
    """The same events over a WebSocket, one JSON text each. Browsers offer the subprotocols
    `perdure` and their token."""
    start = await _start(parts, caller, after)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    await send_events(socket, parts.hub.stream(scores_of(caller.tenant_id), start))


async def _start(parts: State, caller: Principal, behind: int | None) -> int:
    """Where to begin: now, or as far back as is asked for and still kept."""
    last, oldest = await parts.feeds.last(scores_of(caller.tenant_id))
    return last if behind is None else min(max(behind, oldest), last)


async def _ended(parts: State, run: RunRef, seconds: int) -> bool:
    """Whether the run ended well in time; raises Conflict with its own code if it failed."""
    try:
        async with asyncio.timeout(seconds):
            last = await parts.hub.finished(run)
    except TimeoutError:
        return False
    if last.data["outcome"] != Outcome.COMPLETED:
        error = last.data["error"] or {}
        detail = error.get("detail", "The score was not made.")
        raise Conflict(detail, code=error.get("code", "score_failed"), run_id=run.run_id)
    return True


def _wait(prefer: str | None) -> int:
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,4})", prefer or "")
    return min(int(found[1]), _MOST_WAIT_SECONDS) if found else 0


def _seq(last_event_id: str | None) -> int | None:
    known = last_event_id and last_event_id.isdecimal() and len(last_event_id) <= 9
    return int(last_event_id) if last_event_id and known else None
