"""The SDK's sandbox: workflows keep to it, though production does without."""

from testing.clients import Screen, answer, check
from testing.crash_site import SLOWLY, Site, decide, requested, tasks


class TestSandboxedWorker:
    def test_turns_run_in_the_sandbox_and_from_their_history_alone(self, site: Site) -> None:
        api = site.user("sandboxed")
        with site.fleet.sandboxed():
            api.ask('call add_task {"title": "milk"}')
            thread = api.thread()
            stopped = Screen(api, api.say(thread, SLOWLY))
            queued = Screen(api, api.say(thread, "after it"))
            stopped.sees("text.delta", 2)
            api.post(f"/api/v1/runs/{stopped.run_id}/cancel").raise_for_status()
            guarded = Screen(api, api.say(api.thread(), 'call delete_task {"number": 1}'))
            decide(api, guarded.run_id, requested(guarded), "approve")

            for screen in (stopped, queued, guarded):
                check(api, screen.run_id, screen.finished())
            assert stopped.events[-1].data["outcome"] == "cancelled"
            assert answer(api, queued.run_id).endswith("after it")
            assert tasks(api) == []
