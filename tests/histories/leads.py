"""Runs of lead scoring, each of which takes a branch of its workflow, to be recorded."""

import json
from uuid import uuid4

from domain.scoring import generated
from testing.sales import SCORING, Team, judgement
from testing.stack import Stack
from testing.waiting import wait_until

WORDS = "please-remember-zanzibar"


class LeadRecorder:
    """A sales team in the default tenant; each branch makes the leads that it needs."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._team = Team(stack, tenant="default")
        self._team.boss.put(f"{SCORING}/settings", json={"rescore": False}).raise_for_status()
        self._leads = [f"h{uuid4().hex[:8]}" for _ in range(5)]
        for lead in self._leads:
            self._team.put(lead, name=WORDS, tag=WORDS)

    def scored(self) -> str:
        return str(self._team.score(self._leads[0])["run_id"])

    def scored_beside_shadow(self) -> str:
        """A shadow arm scored the lead after the score that is shown."""
        judge = self._team.model("judge", judge={}, champion=False)
        arms = [
            {"name": "open", "model": "starter.0"},
            {"name": "dark", "model": judge, "shadow": True},
        ]
        path = f"{SCORING}/experiments"
        experiment = f"h{uuid4().hex[:8]}"
        self._team.boss.post(path, json={"id": experiment, "arms": arms}).raise_for_status()
        self.stack.script(queue=[judgement(70)])
        run = self.scored()
        wait_until(lambda: "dark" in {row["arm"] for row in self._team.audit()})
        self._team.boss.post(f"{path}/{experiment}/stop").raise_for_status()
        return run

    def score_failed(self) -> str:
        return self._judged("[[fault:unauthorized]]")

    def score_cancelled(self) -> str:
        run = self._judged("[[fault:hang]]")
        wait_until(lambda: self._team.boss.run(run)["status"] == "running")
        return self._cancel(run)

    def batch_completed(self) -> str:
        return self._team.batch(ids=self._leads)

    def batch_with_failures(self) -> str:
        return self._team.batch(ids=[*self._leads, "nobody"])

    def batch_paused_and_cancelled(self) -> str:
        run = self._team.batch(ids=self._many(400))
        pausing = f"{SCORING}/batches/{run}/pause"
        self._team.boss.post(pausing, json={"note": "lunch"}).raise_for_status()
        wait_until(lambda: self._team.get_batch(run)["status"] == "paused")
        self._team.boss.post(f"{SCORING}/batches/{run}/resume").raise_for_status()
        scored = self._team.get_batch(run)["counts"]["scored"]
        wait_until(lambda: self._team.get_batch(run)["counts"]["scored"] > scored)
        return self._cancel(run)

    def batch_begun_anew(self) -> str:
        """More chunks than one history holds: this is the last of several."""
        return self._team.batch(ids=self._many(1_100))

    def batch_over_budget(self) -> str:
        self._team.model("judge", judge={}, champion=False)
        model = self._team.boss.get(f"{SCORING}/models").json()[0]["id"]
        path = "/api/v1/budgets/scores"
        body = {"scope": "tenant", "hard_micros": 0}
        self._team.boss.put(path, json=body).raise_for_status()
        run = self._team.batch(ids=self._leads, model=model)
        self._team.boss.finish(run)
        self._team.boss.delete(path).raise_for_status()
        return run

    def batch_scheduled(self) -> str:
        """A schedule started it: its first line accepts it."""
        return self._scheduled({"batch": {"selection": {"ids": self._leads}}})

    def check_scheduled(self) -> str:
        return self._scheduled({"kind": "check", "check": {"days": 1}})

    def trained(self) -> str:
        cells = map(generated.as_cells, generated.generate(300, 4))
        self._team.load("\n".join([",".join(generated.COLUMNS), *map(",".join, cells)]))
        return self._train({"name": "fit"})

    def training_failed(self) -> str:
        return self._train({"name": "fit", "only": ["nothing"]})

    def checked(self) -> str:
        body = {"days": 1, "attribute": "tag"}
        return str(self._team.boss.post(f"{SCORING}/checks", json=body).json()["run_id"])

    def outcome(self, run: str) -> str:
        """How a run ended."""
        return str(self._team.boss.run(run)["outcome"])

    def _judged(self, instructions: str) -> str:
        model = self._team.model("judge", judge={"instructions": instructions}, champion=False)
        body = {"lead_id": self._leads[0], "model": model}
        return str(self._team.boss.post(f"{SCORING}/leads", json=body).json()["run_id"])

    def _cancel(self, run: str) -> str:
        self._team.boss.post(f"/api/v1/runs/{run}/cancel").raise_for_status()
        return run

    def _scheduled(self, work: dict[str, object]) -> str:
        path, schedule = "/api/v1/schedules", f"h{uuid4().hex[:8]}"
        body = {"id": schedule, "spec": {"every_seconds": 86_400}, "work": work}
        self._team.boss.post(path, json=body).raise_for_status()
        self._team.boss.post(f"{path}/{schedule}/trigger").raise_for_status()

        def last() -> list[dict[str, str]]:
            return list(self._team.boss.get(f"{path}/{schedule}").json()["last_runs"])

        wait_until(last)
        return last()[0]["run_id"]

    def _many(self, count: int) -> list[str]:
        ids = [f"h{uuid4().hex[:12]}" for _ in range(count)]
        lines = (json.dumps({"id": lead, "tag": WORDS}) for lead in ids)
        self._team.load("\n".join(lines), "application/x-ndjson")
        return ids

    def _train(self, body: dict[str, object]) -> str:
        answer = self._team.boss.post(f"{SCORING}/trainings", json=body).raise_for_status()
        return str(answer.json()["run_id"])


# The outcome that each branch ends with.
LEAD_BRANCHES: dict[str, dict[str, str]] = {
    "LeadScore": {
        "scored": "completed",
        "scored_beside_shadow": "completed",
        "score_failed": "failed",
        "score_cancelled": "cancelled",
    },
    "LeadBatch": {
        "batch_completed": "completed",
        "batch_with_failures": "completed_with_errors",
        "batch_paused_and_cancelled": "cancelled",
        "batch_begun_anew": "completed",
        "batch_over_budget": "budget_exceeded",
        "batch_scheduled": "completed",
    },
    "ModelTraining": {"trained": "completed", "training_failed": "failed"},
    "ScoreCheck": {"checked": "completed", "check_scheduled": "completed"},
}
