"""Readiness: a process reports to the one that started it that it can work."""

from domain.settings import Settings


def report_ready(settings: Settings) -> None:
    """Touch the file that PERDURE_READY_FILE names, if it names one."""
    if settings.ready_file is not None:
        settings.ready_file.touch()
