"""Scores: a lead scored on demand, its score and history, and new scores as they come."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response, WebSocket
from fastapi.responses import JSONResponse

from api.deps import SUBPROTOCOL
from api.leads.dependencies import Leads
from api.problems import errors
from api.runs.accepting import Key, RunAccepted, headers_of
from api.runs.dependencies import Feeds, Hub, LastEventId, Starter
from api.runs.sockets import send_events
from api.runs.streaming import sse
from api.scoring.dependencies import Scores, ScoringReader, ScoringWriter
from db.runs.feeds import scores_of
from domain.base import StrictModel
from domain.errors import CursorInvalid
from domain.identity.principals import Principal
from domain.leads.errors import LeadUnknown
from domain.leads.leads import LeadId
from domain.names import ID_PATTERN
from domain.runs.errors import EventUnknown, KeyReused, RunUnknown
from domain.runs.runs import Outcome, RunRef
from domain.scoring.errors import (
    LeadUnscored,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
    ScoreFailed,
)
from domain.scoring.experiments import ModelId
from domain.scoring.scores import CurrentScore, LeadScored, score_run_id, score_spec

router = APIRouter(tags=["scoring"])
_PATH = "/api/v1/ai/scoring"
_MAX_WAIT_SECONDS = 60


class ScoreCreate(StrictModel):
    """The lead to score, and the model; without one, as the tenant scores."""

    lead_id: LeadId
    model: ModelId | None = None


@router.post(
    f"{_PATH}/leads",
    status_code=202,
    response_model=RunAccepted | LeadScored,
    responses=errors(
        *(LeadUnknown, ModelUnknown, ModelRetired, ModelNotApproved),
        *(KeyReused, RunUnknown, ScoreFailed, LeadUnscored),
    ),
)
async def score(
    body: ScoreCreate,
    caller: ScoringWriter,
    leads: Leads,
    scores: Scores,
    runs: Starter,
    hub: Hub,
    key: Key,
    prefer: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Score one lead: 202 with the run, or with `Prefer: wait=N` (seconds, RFC 7240) the score
    itself if it comes in time."""
    await leads.read(caller, body.lead_id)
    await scores.check(caller, body.model)
    run = RunRef(tenant_id=caller.tenant_id, run_id=score_run_id(body.lead_id, key))
    why = f"{caller.user_id:.60} asks"
    spec = score_spec(run, caller.user_id, body.lead_id, why, body.model)
    accepted = await runs.accept(spec, body)
    seconds = _wait(prefer)
    if not seconds or not await _is_scored(hub, run, seconds):
        return accepted
    scored = await scores.of_run(caller, run.run_id)
    headers = headers_of(run) | {"Preference-Applied": f"wait={seconds}"}
    return JSONResponse(scored.model_dump(mode="json"), 200, headers)


@router.get(
    f"{_PATH}/leads/{{lead_id}}", responses=errors(LeadUnknown, LeadUnscored, CursorInvalid)
)
async def read(
    lead_id: Annotated[str, Path(pattern=ID_PATTERN)],
    caller: ScoringReader,
    leads: Leads,
    scores: Scores,
    shadows: bool = False,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> CurrentScore:
    """Return a lead's current score with its reasons, and the scores before it, the latest first;
    with `shadows` also those of shadow models."""
    await leads.read(caller, lead_id)
    return await scores.current(caller, lead_id, cursor=cursor, limit=limit, hidden=shadows)


@router.get(f"{_PATH}/stream", response_model=None, responses=errors(EventUnknown))
async def stream(
    caller: ScoringReader, feeds: Feeds, hub: Hub, last_event_id: LastEventId
) -> Response:
    """Stream the tenant's new scores as server-sent events, from now on or behind `Last-Event-ID`.
    Scores of batches are in the events of their run."""
    start = await _start(feeds, caller, last_event_id)
    return sse(hub.stream(scores_of(caller.tenant_id), start))


@router.websocket("/ws/ai/scoring")
async def socket(
    socket: WebSocket, caller: ScoringReader, feeds: Feeds, hub: Hub, last_event_id: LastEventId
) -> None:
    """Stream the same events over a WebSocket, one JSON text each. Browsers offer the subprotocols
    `perdure` and their token."""
    start = await _start(feeds, caller, last_event_id)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    await send_events(socket, hub.stream(scores_of(caller.tenant_id), start))


async def _start(feeds: Feeds, caller: Principal, last_event_id: int | None) -> int:
    """Return the seq to begin behind: the last one, or the given one as far as events are kept.
    Raises EventUnknown for one that is not there yet."""
    last, oldest = await feeds.last(scores_of(caller.tenant_id))
    if last_event_id is None:
        return last
    if last_event_id > last:
        raise EventUnknown(f"The stream has {last} events so far.", last_seq=last)
    return max(last_event_id, oldest)


async def _is_scored(hub: Hub, run: RunRef, seconds: int) -> bool:
    """Return whether the run has ended in time. Raises ScoreFailed, with the code of the run's
    error as `cause`, if it has ended without a score."""
    try:
        async with asyncio.timeout(seconds):
            last = await hub.finished(run)
    except TimeoutError:
        return False
    if last.data["outcome"] != Outcome.COMPLETED:
        error = last.data["error"] or {}
        raise ScoreFailed(error.get("detail"), cause=error.get("code"), run_id=run.run_id)
    return True


def _wait(prefer: str | None) -> int:
    match = re.search(r"(?:^|[,;\s])wait=(\d{1,4})", prefer or "")
    return min(int(match[1]), _MAX_WAIT_SECONDS) if match else 0
