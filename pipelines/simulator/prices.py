"""Invented list prices in US cents per million tokens: tokens times price is the cost in millionths of a cent."""

from __future__ import annotations

from typing import NamedTuple

MICRO = 1_000_000  # millionths of a cent in a cent
TOKEN_FEE_CENTS_PER_MILLION = 25

USAGE_BASED = "Usage-based"
INCLUDED = "Included in Business"
ERRORED = "Errored, Not Charged"
ABORTED = "Aborted, Not Charged"
OWN_KEY = "User API Key"
UNKNOWN_KIND = "Sponsored"
ON_DEMAND_KINDS = frozenset({USAGE_BASED, OWN_KEY})


class Model(NamedTuple):
    """`is_third_party` models pay the token fee; Cursor's own do not."""

    name: str
    share: float
    is_third_party: bool
    input: int
    output: int
    cache_write: int
    cache_read: int


MODELS = (
    Model("claude-4.5-sonnet", 0.34, True, 300, 1500, 375, 30),
    Model("composer-2.5", 0.22, False, 125, 600, 125, 12),
    Model("gpt-5.4", 0.16, True, 125, 1000, 125, 13),
    Model("default", 0.12, False, 125, 600, 125, 25),
    Model("claude-4.5-opus", 0.06, True, 500, 2500, 625, 50),
    Model("gemini-3-pro", 0.05, True, 200, 1200, 200, 20),
    Model("gpt-5.4-mini", 0.03, True, 25, 200, 25, 3),
    Model("grok-4-fast", 0.02, True, 20, 50, 20, 5),
)


def cents_text(micro: int) -> str:
    """Millionths of a cent as a JSON number in cents, with at most six fractional digits: 26135000 is `26.135`."""
    whole, rest = divmod(micro, MICRO)
    return str(whole) if rest == 0 else f"{whole}.{rest:06d}".rstrip("0")


def cents_number(micro: int) -> int | float:
    """The same as a number for json.dumps, which writes the shortest text that reads back to it."""
    return micro // MICRO if micro % MICRO == 0 else micro / MICRO
