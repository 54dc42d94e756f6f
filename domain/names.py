"""Names that outlive a deploy: Temporal stores them, so they are written once and never changed."""

import re
from enum import StrEnum

from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)

TENANT_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"


class Kind(StrEnum):
    """The kinds of runs: the second part of a workflow id, the first of a run id."""

    TURN = "turn"
    SCORE = "score"
    BATCH = "batch"
    TRAINING = "training"
    CHECK = "check"
    FEED = "feed"


class TaskQueue(StrEnum):
    """One queue per worker role; a workflow and its activities share it. What may take long and
    nobody waits for has a queue of its own, so that it never holds a slot that a person needs; and
    in the batch role what waits for models, and what learns, holds no slot of what calculates."""

    CHAT = "chat"
    LEADS = "leads"
    BATCH = "batch"
    BATCH_CALLS = "batch-calls"
    LEARNING = "learning"


class WorkflowType(StrEnum):
    """Workflows, named by the thing that happens."""

    CHAT_TURN = "ChatTurn"
    LEAD_SCORE = "LeadScore"
    LEAD_BATCH = "LeadBatch"
    MODEL_TRAINING = "ModelTraining"
    SCORE_CHECK = "ScoreCheck"


class Lane:
    """Priority keys: Temporal serves lower numbers first."""

    INTERACTIVE = 1
    DEFAULT = 3
    BATCH = 5


TENANT_ID = SearchAttributeKey.for_keyword("TenantId")
KIND = SearchAttributeKey.for_keyword("Kind")
SUBJECT_ID = SearchAttributeKey.for_keyword("SubjectId")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")
MODEL = SearchAttributeKey.for_keyword("Model")
SEARCH_ATTRIBUTES = (TENANT_ID, KIND, SUBJECT_ID, OUTCOME, MODEL)


def run_id(kind: Kind, *parts: str) -> str:
    """Return the id of a run as clients know it: one URL segment, its kind first."""
    return ".".join((kind, *parts))


def turn_id(thread_id: str, message_id: str) -> str:
    """Return the id of the turn that answers a message: the same message is the same run."""
    return run_id(Kind.TURN, thread_id, message_id)


def workflow_id(tenant_id: str, run: str) -> str:
    """Return a run's workflow id. The tenant comes first: it selects the encryption key."""
    kind, _, business_id = run.partition(".")
    return f"{tenant_id}/{kind}/{business_id}"


def schedule_id(tenant_id: str, schedule: str) -> str:
    """Return the id of a tenant's schedule in Temporal."""
    return f"{tenant_id}/schedule/{schedule}"


def run_of(workflow: str) -> str:
    """Return the id of the run that a workflow id stands for: the inverse of `workflow_id`."""
    _, kind, business_id = workflow.split("/", 2)
    return f"{kind}.{business_id}"


def tenant_of(workflow: str) -> str:
    """Return the tenant that a workflow id begins with."""
    return workflow.partition("/")[0]


def kind_of(run: str) -> Kind:
    """Return the kind of a run, which is the first part of its id."""
    return Kind(run.partition(".")[0])


def effect_key(run: str, step: int, call: int) -> str:
    """Return the idempotency key of an effect, by its position: the same in every retry."""
    return f"{run}/{step}/{call}"


def decision_id(step: int, call: int) -> str:
    """Return the id of the question that is asked before a call, unique within its run."""
    return f"{step}-{call}"


def step_message_id(message_id: str, step: int) -> str:
    """Return the id of a step's answer; the dot keeps it apart from ids that clients choose."""
    return f"{message_id}.{step}"


def repeat_decision_id(step: int, call: int, attempt: int) -> str:
    """Return the id of the question whether to repeat a call whose `attempt` has vanished."""
    return f"{step}-{call}-after-{attempt}"


def is_tenant(text: str) -> bool:
    """Return whether a text can be a tenant's id."""
    return re.fullmatch(TENANT_PATTERN, text) is not None


def tags(tenant_id: str, kind: Kind, subject_id: str, model: str) -> TypedSearchAttributes:
    """Return the search attributes that every start passes."""
    pairs = ((TENANT_ID, tenant_id), (KIND, kind.value), (SUBJECT_ID, subject_id), (MODEL, model))
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


def lane(tenant_id: str, key: int) -> Priority:
    """Return the priority of a start: fair between tenants within a lane."""
    return Priority(priority_key=key, fairness_key=tenant_id)
