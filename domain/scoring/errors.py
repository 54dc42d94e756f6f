"""What can go wrong with scores, their models, batches, trainings, experiments and checks."""

from domain.errors import Conflict, Invalid, ModelFailed, NotFound


class ModelUnknown(NotFound):
    """There is no such scoring model."""

    code = "model_unknown"


class ModelRetired(Conflict):
    """This scoring model is retired."""

    code = "model_retired"


class ModelNotApproved(Conflict):
    """A scoring model must be approved before its scores are visible."""

    code = "model_not_approved"


class ModelBuiltIn(Conflict):
    """A built-in scoring model cannot be changed."""

    code = "model_built_in"


class ModelInUse(Conflict):
    """A running experiment uses this scoring model."""

    code = "model_in_use"


class ModelInvalid(Invalid):
    """A scoring model has either rules or a judge."""

    code = "model_invalid"


class ModelUnreadable(Invalid):
    """The definition of this scoring model cannot be read."""

    code = "model_unreadable"


class RulesInvalid(Invalid):
    """The rules of a scoring model cannot be read."""

    code = "rules_invalid"


class ModelOffline(ModelFailed):
    """The offline model cannot score leads: name a provider's model."""

    code, retryable = "model_offline", False


class LeadUnscored(NotFound):
    """This lead has no score yet."""

    code = "lead_unscored"


class ScoreFailed(Conflict):
    """The lead could not be scored."""

    code = "score_failed"


class BatchUnknown(NotFound):
    """There is no such batch."""

    code = "batch_unknown"


class ExperimentUnknown(NotFound):
    """There is no such experiment."""

    code = "experiment_unknown"


class ExperimentRunning(Conflict):
    """Another experiment is running: stop it first."""

    code = "experiment_running"


class ExperimentExists(Conflict):
    """There is an experiment of this id."""

    code = "experiment_exists"


class ExperimentStopped(Conflict):
    """This experiment is stopped."""

    code = "experiment_stopped"


class TrainingImpossible(Invalid):
    """No model can be learned from these leads."""

    code = "training_impossible"


class CheckUnknown(NotFound):
    """There is no such check."""

    code = "check_unknown"
