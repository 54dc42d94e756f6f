"""Settings: where each value comes from, and what is never printed."""

import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import SettingsInvalid
from domain.settings import Settings
from testing.stack import ROOT

SECRETS = {
    "PERDURE_SECRET": "sealed" * 6,
    "DATABASE_URL": "postgresql://me:sealed@here/perdure",
    "PERDURE_TOOL_SERVERS": '[{"name": "crm", "url": "https://crm.example", '
    '"headers": {"Authorization": "sealed"}}]',
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with two settings."""
    file = tmp_path / "perdure.toml"
    file.write_text('max_steps = 30\nlog_level = "debug"\n')
    return file


class TestOrigins:
    def test_the_environment_wins_over_the_file_and_the_file_over_defaults(
        self, config: Path
    ) -> None:
        environ = {"PERDURE_CONFIG": str(config), "PERDURE_MAX_STEPS": "40"}

        settings, origins = Settings.from_env(environ), Settings.origins(environ)

        assert (settings.max_steps, origins["max_steps"]) == (40, "PERDURE_MAX_STEPS")
        assert (settings.log_level, origins["log_level"]) == ("debug", str(config))
        assert (settings.turn_seconds, origins["turn_seconds"]) == (600, "default")

    def test_a_providers_key_chooses_the_model_unless_one_is_named(self) -> None:
        by_key = {"ANTHROPIC_API_KEY": "k"}

        assert Settings.origins(by_key)["model"] == "ANTHROPIC_API_KEY"
        assert Settings.origins(by_key | {"PERDURE_MODEL": "m/n"})["model"] == "PERDURE_MODEL"
        assert Settings.origins({})["model"] == "default"

    def test_every_setting_has_one(self) -> None:
        assert list(Settings.origins({})) == list(Settings.model_fields)

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsInvalid, match=r"PERDURE_CONFIG=.*none\.toml"):
            Settings.origins({"PERDURE_CONFIG": str(tmp_path / "none.toml")})


class TestVerb:
    def test_secrets_are_not_printed_only_that_there_are_some(self) -> None:
        printed = perdure_settings(SECRETS)

        assert "sealed" not in printed
        assert printed.count("••••") == len(SECRETS)
        assert all(name in printed for name in SECRETS)

    def test_what_is_wrong_is_said_in_one_line(self) -> None:
        refused = run({"PERDURE_MAX_STEPS": "many"})

        assert refused.returncode == 1
        assert refused.stderr.startswith("perdure: Settings are wrong. max_steps:")
        assert refused.stderr.count("\n") == 1


def perdure_settings(environ: dict[str, str]) -> str:
    """Return what `perdure settings` prints."""
    answer = run(environ)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def run(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `perdure settings` in an environment that holds nothing else."""
    command = [sys.executable, "-m", "cli", "settings"]
    wide = environ | {"COLUMNS": "200", "PYTHONUTF8": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=wide, cwd=ROOT, check=False)
