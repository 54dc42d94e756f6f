"""The quality of learned models on real contacts: 45,211 of a bank's campaign (Moro, Rita and
Cortez, *Bank Marketing*, UCI Machine Learning Repository, 2014, CC BY 4.0)."""

import asyncio
import csv
import gzip
import os
from pathlib import Path

from adapters.scoring.learner import SklearnLearner
from benchmarks.report import Row
from domain.runs.runs import RunRef
from domain.scoring.examples import ClosedLead, Examples, Survey
from domain.scoring.trainings import TrainingInput, TrainingRequest
from testing.stack import Stack

FILE = "bank-marketing.csv.gz"
# Known only when the call is over.
_LEFT_OUT = ("y", "duration")
_GOALS = {"logistic": 0.765, "boosted": 0.795}


def run(_stack: Stack, _quick: bool) -> list[Row]:
    """Learn by both algorithms, five-fold, shuffled; return nothing where the file is missing
    (`PERDURE_BENCH_DATA`)."""
    path = _path()
    if path is None:
        print(f"{FILE} is not there: set PERDURE_BENCH_DATA to its folder.")
        return []
    rows = []
    for algorithm, goal in _GOALS.items():
        values = {"name": "contacts", "algorithm": algorithm}
        request = TrainingRequest.model_validate(values)
        run = RunRef(tenant_id="bench", run_id="training.contacts.1")
        input = TrainingInput(run=run, user_id="bench", request=request)
        learned = asyncio.run(SklearnLearner().learn(input, _examples(path, request), _silent))
        assert learned.metrics is not None
        rows += [
            Row(f"AUC on 45,211 contacts, {algorithm}", learned.metrics.auc, "", least=goal),
            Row(f"calibration error, {algorithm}", learned.metrics.calibration_error, ""),
        ]
    return rows


def _path() -> Path | None:
    folders = (os.environ.get("PERDURE_BENCH_DATA"), Path(__file__).parents[3] / "shared" / "data")
    paths = [Path(folder) / FILE for folder in folders if folder]
    return next((path for path in paths if path.exists()), None)


def _examples(path: Path, request: TrainingRequest) -> Examples:
    with gzip.open(path, "rt") as lines:
        leads = [_lead(row) for row in csv.DictReader(lines)]
    survey = Survey(request.allows)
    survey.add(leads)
    examples = survey.examples()
    examples.add(leads)
    return examples


def _lead(row: dict[str, str]) -> ClosedLead:
    profile = {name: float(value) for name, value in row.items() if name not in _LEFT_OUT}
    return ClosedLead(profile, {}, row["y"] == "1")


async def _silent(_: str) -> None:
    return
