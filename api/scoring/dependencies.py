"""What the routes of scoring ask for."""

from typing import Annotated

from fastapi import Depends

from api.deps import provide, requires
from db.scoring import audits, batch_reports, batches, checks, experiments, models, reports, scores
from domain.identity.principals import Principal, Scope

Audits = Annotated[audits.ScoreAudits, Depends(provide(audits.ScoreAudits))]
BatchReports = Annotated[batch_reports.BatchReports, Depends(provide(batch_reports.BatchReports))]
Batches = Annotated[batches.Batches, Depends(provide(batches.Batches))]
Checks = Annotated[checks.Checks, Depends(provide(checks.Checks))]
Experiments = Annotated[experiments.Experiments, Depends(provide(experiments.Experiments))]
Models = Annotated[models.ScoringModels, Depends(provide(models.ScoringModels))]
Reports = Annotated[reports.Reports, Depends(provide(reports.Reports))]
Scores = Annotated[scores.Scores, Depends(provide(scores.Scores))]
ScoringReader = Annotated[Principal, Depends(requires(Scope.SCORING_READ))]
ScoringWriter = Annotated[Principal, Depends(requires(Scope.SCORING_WRITE))]
ScoringAdmin = Annotated[Principal, Depends(requires(Scope.SCORING_ADMIN))]
