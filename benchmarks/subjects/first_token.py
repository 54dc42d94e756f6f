"""From the POST to the first words on the screen, beside LiteLLM with nothing around it."""

from benchmarks.driver import Driver
from benchmarks.processes import p50, p95
from benchmarks.report import Row
from testing.stack import Stack

_MODEL = {"first_delay": 0.1, "chunk_delay": 0.01, "chunks": 10}
_RATE = 5


def run(stack: Stack, quick: bool) -> list[Row]:
    """Measure streams at 5/s, ours and LiteLLM's by turns, less the model's own delay."""
    stack.script(default=_MODEL)
    rounds, seconds = (2, 4) if quick else (3, 10)
    us = {"api": stack.ready["api"], "token": stack.token("bench")}
    ours: list[float] = []
    theirs: list[float] = []
    with Driver() as load, Driver({"LITELLM_LOCAL_MODEL_COST_MAP": "True"}) as bare:
        provider = stack.provider_url
        bare.run("bare:model", base_url=f"{provider}/v1", rate=_RATE, count=5)
        load.run("load:open_loop", **us, rate=_RATE, seconds=1, seed=0)
        for number in range(rounds):
            model = p50(load.run("load:direct", provider=provider, count=10, gap=0)["first"])
            timing = {"rate": _RATE, "seconds": seconds, "seed": number}
            seen = load.run("load:open_loop", **us, **timing)
            ours += [1000 * (first - model) for first in seen["first"]]
            count = _RATE * seconds
            seen = bare.run("bare:model", base_url=f"{provider}/v1", rate=_RATE, count=count)
            theirs += [1000 * (first - model) for first in seen["first"]]
    return [
        Row("first token, p50", p50(ours), "ms", 40, p50(theirs)),
        Row("first token, p95", p95(ours), "ms", 80, p95(theirs)),
    ]
