"""Every switch of the simulator: what the API is known or suspected to do, each of which can be turned off alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Glitch:
    """One night on which a snapshot answer is wrong although it looks well-formed.

    `target` is 'groups' or 'members'; `how` is 'empty', 'halved' (the first half is left) or 'thinned' (every third
    entry is left). With a `group_id` only that group is hit.
    """

    on: date
    target: str
    how: str
    group_id: str | None = None

    def spoil(self, rows: list[_T]) -> list[_T]:
        """What is left of a list on that night."""
        return {"empty": [], "halved": rows[: len(rows) // 2], "thinned": rows[::3]}[self.how]


@dataclass(frozen=True)
class Behaviour:
    """How the API behaves. Shares are between 0 and 1, counted over events; 0 turns a trait off.

    The defaults are a realistic Enterprise tenant; `Behaviour.plain()` is one without any surprise.
    """

    # usage events
    hourly_freshness: bool = True  # visible only after the next full hour
    restated_share: float = 0.05  # priced anew within a day: up, down or to zero
    late_share: float = 0.01  # arrive hours after they happened
    sibling_share: float = 0.004  # same millisecond, person and model, another charge
    twin_share: float = 0.004  # identical in everything the API shows
    nameless_share: float = 0.003  # never carry an e-mail
    blank_leavers: bool = True  # every second leaver's events lose their e-mail after the departure, old ones too
    email_case_varies: bool = True
    request_based_share: float = 0.02  # no tokenUsage
    discount_share: float = 0.05
    errored_share: float = 0.02
    own_key_share: float = 0.01
    unknown_kind_share: float = 0.0
    null_charge_share: float = 0.0  # chargedCents null or absent
    extra_fields: bool = False  # fields that no reference names
    edge_events: bool = True  # events on the first and last millisecond of a day, and on the instant of a move
    drift: bool = False  # new rows appear between pages of a window that overlaps the open hour
    event_retention_days: int | None = None

    # groups and members
    plan: str = "enterprise"  # 'teams': billing groups answer 403
    cycle_anchor_day: int = 5
    wide_former_members: bool = False  # formerMembers also lists those who left before the cycle
    ended_stints_vanish: str = "never"  # instead of a leftAt: 'never', 'leavers' (of the company) or 'always'
    removed_members: str = "flag"  # 'flag': isRemoved is true; 'vanish': the row is missing
    unassigned_lists_members: bool = False
    send_billing_cycle: bool = True
    daily_spend_in_list: bool = False  # members carry dailySpend in the list too
    spend_basis: str = "overall"  # of a group's spendCents: 'overall' or 'on_demand'
    numeric_member_ids: bool = False  # ids as they were before mid-2026
    undocumented_spend_fields: bool = False
    billing_tiers: tuple[str, ...] = ("standard",)  # on undocumented spend rows, in turn
    glitches: tuple[Glitch, ...] = ()

    # audit log, AI code
    audit_vocabulary: str = "current"  # 'spring': the event names of spring 2026
    audit_newest_first: bool = False
    audit_retention_days: int | None = None
    shuffled_csv_columns: bool = False
    amended_commits: bool = True  # a hash that appears again with a later createdAt

    # the organization's pool, of which this team is one part
    pool_budget_cents: int | None = None  # of this team
    pool_siblings: tuple[tuple[int, int, int | None], ...] = ()  # other teams: id, used cents, budget in cents

    # limits and keys
    unavailable_routes: frozenset[str] = frozenset()  # 403: paths, or beginnings of paths with a * behind
    rate_window_seconds: float = 60.0
    rate_shared: bool = False  # one bucket for every endpoint
    retry_after: str | None = None  # on a 429: None, 'seconds' or 'date'
    scope_error: int = 401  # what a key without admin scope gets: 401 or 403
    daily_usage_holes: bool = True  # days that say inactive although there are events

    @classmethod
    def plain(cls) -> Behaviour:
        """An API without surprises: nothing restated, late, doubled, nameless or renamed."""
        return cls(
            hourly_freshness=False,
            restated_share=0,
            late_share=0,
            sibling_share=0,
            twin_share=0,
            nameless_share=0,
            blank_leavers=False,
            email_case_varies=False,
            request_based_share=0,
            discount_share=0,
            errored_share=0,
            own_key_share=0,
            edge_events=False,
            amended_commits=False,
            daily_usage_holes=False,
        )


def matches(pattern: str, path: str) -> bool:
    """Whether it is this path, or begins as the pattern does before its `*`."""
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


FAULT_KINDS = frozenset(
    {"401", "403", "404", "429", "500", "502", "503", "504"}
    | {"reset", "stall", "short_body", "truncated_json", "html", "missing_key", "changed_type"}
)


@dataclass
class Fault:
    """A scheduled failure of one route.

    `path` is the exact path, or a prefix that ends with `*`. The first `after` matching requests are answered as ever,
    the next `times` (None: all further ones) get the fault. `retry_after` is sent as it is with a 4xx or 5xx. `key` is
    the JSON key that `missing_key` removes or whose type `changed_type` changes (first occurrence; each route has a
    default).
    """

    path: str
    kind: str
    after: int = 0
    times: int | None = 1
    retry_after: str | None = None
    key: str | None = None
    seconds: float = 30.0  # how long a stall holds the connection
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"Unknown kind of fault {self.kind!r}; known are {', '.join(sorted(FAULT_KINDS))}.")

    def matches(self, path: str) -> bool:
        return matches(self.path, path)

    def strikes(self) -> bool:
        """Counts one matching request; true when this one gets the fault."""
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.seen <= self.after + self.times)
