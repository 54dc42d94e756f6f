"""What can go wrong with models, and with what an administrator sets for them."""

from domain.errors import Conflict, Invalid, ModelFailed, NotFound


class ModelRateLimited(ModelFailed):
    """The provider says: too many requests."""

    code = "model_rate_limited"


class ModelUnavailable(ModelFailed):
    """The provider is not available at the moment."""

    code = "model_unavailable"


class ModelTimeout(ModelFailed):
    """The provider did not answer in time."""

    code = "model_timeout"


class ModelTruncated(ModelFailed):
    """The model's answer broke off."""

    code = "model_truncated"


class ModelGarbled(ModelFailed):
    """The provider's answer made no sense."""

    code = "model_garbled"


class ModelBusy(ModelFailed):
    """No deployment of this route may be asked now.

    To wait for a quota or a breaker is no failure of the model.
    """

    code = "model_busy"


class RouteDown(ModelBusy):
    """Every deployment of this route has failed of late, and is left alone for now."""


class BudgetReserved(ModelFailed):
    """Calls that are still open may spend the rest of the budget.

    To wait for them is no failure of the model.
    """

    code = "budget_reserved"


class BudgetExceeded(ModelFailed):
    """The budget for models is spent."""

    code = "budget_exceeded"
    retryable = False


class ModelCredentialsRefused(ModelFailed):
    """The provider refused our credentials."""

    code = "model_credentials"
    retryable = False


class ModelRejected(ModelFailed):
    """The provider rejected the request."""

    code = "model_rejected"
    retryable = False


class ContextTooLong(ModelFailed):
    """The prompt is too long for the model."""

    code = "context_too_long"
    retryable = False


class AnswerInvalid(ModelFailed):
    """The model's answer does not match its schema."""

    code = "answer_invalid"
    retryable = False


class RouteInvalid(Invalid):
    """This route cannot work as it is."""

    code = "route_invalid"


class RouteUnknown(NotFound):
    """There is no such route."""

    code = "route_unknown"


class BudgetUnknown(NotFound):
    """There is no such budget."""

    code = "budget_unknown"


class GroupUnknown(Invalid):
    """Usage cannot be grouped by this."""

    code = "group_unknown"


class PeriodInvalid(Invalid):
    """This is not a period: its first day must not be after its last."""

    code = "period_invalid"


class PromptInvalid(Invalid):
    """This text cannot be used as a prompt."""

    code = "prompt_invalid"


class PromptUnknown(NotFound):
    """There is no such prompt, or no such version of it."""

    code = "prompt_unknown"


class PromptNotApproved(Conflict):
    """A draft must be approved before it is used."""

    code = "prompt_not_approved"
