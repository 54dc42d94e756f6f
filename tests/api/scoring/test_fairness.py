"""Fairness: nobody waits for long behind what others asked for."""

from testing.sales import Team
from testing.stack import Stack
from testing.waiting import wait_until


class TestFairness:
    def test_who_waits_for_models_holds_up_nobody_who_does_not(self, stack: Stack) -> None:
        asking, other = Team(stack), Team(stack)
        model = asking.model("judge", judge={"instructions": "[[fault:hang]]"})
        asking.fill(10)
        hanging = [asking.batch(model=model) for _ in range(6)]
        wait_until(lambda: all(asking.boss.run(r)["status"] == "running" for r in hanging))
        other.fill(1_000)

        assert other.finished()["outcome"] == "completed"
        for run in hanging:
            asking.boss.post(f"/api/v1/runs/{run}/cancel").raise_for_status()
            assert asking.boss.finish(run)[-1].data["outcome"] == "cancelled"

    def test_two_tenants_batches_share(self, stack: Stack) -> None:
        large, small = Team(stack), Team(stack)
        for team in (large, small):
            team.fill(6_000)
        first = [large.batch() for _ in range(3)]
        run = small.batch()

        small.boss.finish(run)

        waiting = [large.get_batch(each)["outcome"] for each in first]
        assert None in waiting, "three batches of one tenant went before the other's one"
        for each in first:
            large.boss.finish(each)
