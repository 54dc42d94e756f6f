"""What the routes of the gateway ask for."""

from typing import Annotated

from fastapi import Depends

from api.deps import provide
from db.gateway import alerts, budgets, cache, prompts, routes, usage

Alerts = Annotated[alerts.Alerts, Depends(provide(alerts.Alerts))]
Budgets = Annotated[budgets.Budgets, Depends(provide(budgets.Budgets))]
Cache = Annotated[cache.CachedAnswers, Depends(provide(cache.CachedAnswers))]
Prompts = Annotated[prompts.PromptVersions, Depends(provide(prompts.PromptVersions))]
Routes = Annotated[routes.RouteOverrides, Depends(provide(routes.RouteOverrides))]
Usages = Annotated[usage.UsageReports, Depends(provide(usage.UsageReports))]
