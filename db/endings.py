"""Endings: what each noun does when a run of its kind ends, for whoever puts `Runs` together."""

from db.chat import turns
from db.leads import rescores
from db.runs.runs import OnEnd
from db.scoring import batches
from domain.names import Kind

ON_END: dict[Kind, OnEnd] = {
    Kind.TURN: turns.end,
    Kind.BATCH: batches.end_batch,
    Kind.SCORE: rescores.end,
}
