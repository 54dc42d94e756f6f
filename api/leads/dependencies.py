"""What the routes of leads ask for."""

from typing import Annotated

from fastapi import Depends

from api.deps import provide, requires
from db.leads import leads
from domain.identity.principals import Principal, Scope

Leads = Annotated[leads.Leads, Depends(provide(leads.Leads))]
LeadReader = Annotated[Principal, Depends(requires(Scope.LEADS_READ))]
LeadWriter = Annotated[Principal, Depends(requires(Scope.LEADS_WRITE))]
