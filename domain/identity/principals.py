"""Who calls, and what they may do: principals, the six roles and their scopes."""

from enum import IntEnum, StrEnum

from domain.base import Contract


class Role(IntEnum):
    """The six roles; a higher number may do all that a lower one may."""

    GUEST = 10
    VIEWER = 20
    ANALYST = 40
    DEVELOPER = 60
    MANAGER = 80
    ADMIN = 100


class Scope(StrEnum):
    """A permission that a route asks for. `admin` scopes reach other users' things as well."""

    THREADS_READ = "threads:read"
    THREADS_WRITE = "threads:write"
    THREADS_ADMIN = "threads:admin"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    MODELS_READ = "models:read"
    MODELS_ADMIN = "models:admin"
    USAGE_READ = "usage:read"
    USAGE_ADMIN = "usage:admin"
    BUDGETS_READ = "budgets:read"
    BUDGETS_ADMIN = "budgets:admin"
    PROMPTS_READ = "prompts:read"
    PROMPTS_WRITE = "prompts:write"
    PROMPTS_ADMIN = "prompts:admin"
    ALERTS_READ = "alerts:read"
    LEADS_READ = "leads:read"
    LEADS_WRITE = "leads:write"
    SCORING_READ = "scoring:read"
    SCORING_WRITE = "scoring:write"
    SCORING_ADMIN = "scoring:admin"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    KEYS_ADMIN = "keys:admin"


_FIRST_ROLE = {
    Scope.THREADS_READ: Role.GUEST,
    Scope.RUNS_READ: Role.GUEST,
    Scope.TASKS_READ: Role.GUEST,
    Scope.THREADS_WRITE: Role.VIEWER,
    Scope.RUNS_WRITE: Role.VIEWER,
    Scope.TASKS_WRITE: Role.VIEWER,
    Scope.THREADS_ADMIN: Role.MANAGER,
    Scope.USAGE_READ: Role.VIEWER,
    Scope.MODELS_READ: Role.ANALYST,
    Scope.PROMPTS_READ: Role.ANALYST,
    Scope.PROMPTS_WRITE: Role.DEVELOPER,
    Scope.BUDGETS_READ: Role.ANALYST,
    Scope.USAGE_ADMIN: Role.MANAGER,
    Scope.PROMPTS_ADMIN: Role.MANAGER,
    Scope.BUDGETS_ADMIN: Role.MANAGER,
    Scope.ALERTS_READ: Role.MANAGER,
    Scope.LEADS_READ: Role.VIEWER,
    Scope.SCORING_READ: Role.VIEWER,
    Scope.LEADS_WRITE: Role.ANALYST,
    Scope.SCORING_WRITE: Role.ANALYST,
    Scope.SCHEDULES_READ: Role.ANALYST,
    Scope.SCORING_ADMIN: Role.MANAGER,
    Scope.SCHEDULES_WRITE: Role.MANAGER,
    Scope.MODELS_ADMIN: Role.ADMIN,
    Scope.KEYS_ADMIN: Role.ADMIN,
}


def scopes_of(role: Role) -> frozenset[Scope]:
    """Return all scopes that a role holds."""
    return frozenset(scope for scope, first in _FIRST_ROLE.items() if role >= first)


def first_role(scope: Scope) -> Role:
    """Return the lowest role that holds a scope; a 403 names it."""
    return _FIRST_ROLE[scope]


class Principal(Contract):
    """An authenticated caller: one user of one tenant."""

    tenant_id: str
    user_id: str
    role: Role
    scopes: frozenset[Scope]

    @property
    def key(self) -> dict[str, str]:
        """The parameters `tenant` and `user` of a statement about what belongs to the caller."""
        return {"tenant": self.tenant_id, "user": self.user_id}

    def may(self, scope: Scope) -> bool:
        """Return whether the caller holds a scope."""
        return scope in self.scopes
