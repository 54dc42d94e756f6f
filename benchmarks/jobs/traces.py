"""Seeded traces of questions, each with its intent: a cache should give the same answer again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

TENANTS = ("north", "south")


@dataclass(frozen=True)
class TracedQuestion:
    """A question of a tenant's user, with its intent."""

    tenant: str
    text: str
    intent: str


_WISHES = (
    *("reset my password", "change my e-mail address", "change my postal address"),
    *("cancel my subscription", "renew my subscription", "upgrade to the team plan"),
    *("downgrade to the free plan", "invite a colleague", "remove a colleague"),
    *("export my contacts", "import my contacts", "export 100 rows", "export 1000 rows"),
    *("turn on two-factor login", "turn off two-factor login", "download an invoice"),
    *("pay by bank transfer", "pay by credit card", "get a refund", "see my last invoice"),
    *("connect my calendar", "disconnect my calendar", "add a custom field"),
    *("delete a custom field", "merge two companies", "assign a lead to somebody"),
    *("build a report about sales", "build a report about calls", "share a dashboard"),
    *("hide a dashboard", "set my time zone", "change the language", "record a call"),
    *("delete a recording", "send a newsletter", "stop a newsletter", "write a template"),
    *("schedule a meeting", "move a meeting", "use the phone app", "close my account"),
)
_WAYS = (
    *("How do I {}?", "how can I {}", "How can I {}?", "please tell me how to {}", "How to {}?"),
    *("how do i {}", "Can you tell me how I {}?", "I want to {}. How?", "what must I do to {}"),
)
# The same wish in other words: a cache that knows words only will not see it.
_OTHERWISE = {
    "reset my password": ("I forgot my login secret", "my credentials do not work any more"),
    "get a refund": ("I want my money back", "you charged me twice, give it back"),
    "close my account": ("forget everything about me", "I am leaving, delete all of it"),
    "set my time zone": ("all hours are shown wrong", "your clock is off by two hours"),
    "invite a colleague": ("my boss needs access too", "can somebody join me in here"),
    "use the phone app": ("is there something for Android", "does it run on my mobile"),
}
_NAMES = ("Ada", "Boris", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Igor", "Jana")
_CASES = (
    "Where is order {number}?",
    "Order {number} of {name} arrived broken.",
    "Please cancel order {number}.",
    "{name} wants an invoice for order {number}.",
    "When will order {number} be delivered?",
)
_FAQ = ("What are your opening hours?", "Do you ship to Norway?", "How long is the warranty?")
_THINGS = ("pump", "valve", "sensor", "cable", "filter", "motor", "relay", "hinge", "lens", "belt")
_TRAITS = ("blue", "loud", "spare", "heavy", "cheap", "old", "small", "steel", "sealed", "fast")
_PLACES = ("Oslo", "Lima", "Pune", "Turin", "Leeds", "Quito", "Accra", "Osaka", "Perth", "Lyon")


def frequent(seed: int, size: int) -> list[TracedQuestion]:
    """Repeat few wishes often (Zipf), in several ways, some in quite other words."""
    chance = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(_WISHES))]
    wishes = chance.sample(_WISHES, len(_WISHES))
    return [_wish(chance, wish) for wish in chance.choices(wishes, weights, k=size)]


def support(seed: int, size: int) -> list[TracedQuestion]:
    """Mix cases with numbers and names that matter, and a few questions that everybody asks."""
    chance = random.Random(seed)
    return [_case(chance) for _ in range(size)]


def long_tail(seed: int, size: int) -> list[TracedQuestion]:
    """Ask hardly anything twice."""
    chance = random.Random(seed)
    texts = [
        f"Which {chance.choice(_TRAITS)} {chance.choice(_THINGS)} fits a {chance.choice(_TRAITS)} "
        f"{chance.choice(_THINGS)} in {chance.choice(_PLACES)}?"
        for _ in range(size)
    ]
    return [TracedQuestion(chance.choice(TENANTS), text, text) for text in texts]


def _wish(chance: random.Random, wish: str) -> TracedQuestion:
    otherwise: Sequence[str] = _OTHERWISE.get(wish, ())
    rephrased = otherwise and chance.random() < 0.3
    text = chance.choice(otherwise) if rephrased else chance.choice(_WAYS).format(wish)
    return TracedQuestion(chance.choice(TENANTS), text, wish)


def _case(chance: random.Random) -> TracedQuestion:
    tenant = chance.choice(TENANTS)
    if chance.random() < 0.3:
        text = chance.choice(_FAQ)
        return TracedQuestion(tenant, text, text)
    number, name = chance.randrange(1000, 1400), chance.choice(_NAMES)
    text = chance.choice(_CASES).format(number=number, name=name)
    return TracedQuestion(tenant, text, text)
