"""Every way an answer can go wrong, on every route: exact after retries, or one clear message and nothing changed."""

from __future__ import annotations

import json
import re

import pytest
from conftest import FIRST_NIGHT, SECOND_NIGHT, Company
from nights import ROUTES, Installation, Outcome, instant, last_run

from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.simulator import Fault

NIGHT = ("--now", instant(SECOND_NIGHT))
NEXT = "nothing was changed, the next run continues."
KEY_SETTING = "api_key under [sources.cursor_admin] in .dlt/secrets.toml to a key with the admin scope."
BASE_URL_SETTING = "Set base_url under [sources.cursor_admin] in .dlt/config.toml"
SHAPE = "The API may have changed: compare it with the API reference; nothing was changed."
TROUBLE = f"each time it was tried. Cursor has a problem: run again later; {NEXT}"
CONTENT = """
    select usage_date, row_count, charged_cents, digest from raw.load_windows
    where read_number in (select max(read_number) from raw.load_windows
        where outcome in ('landed', 'unchanged') group by usage_date)
    union all
    select null, row_count, null, resource || cycle_start_at || digest from raw.snapshot_reads
    where resource in ('billing_groups', 'members')
        and outcome in ('landed', 'unchanged') and read_at = (select max(read_at) from raw.snapshot_reads)
    order by all
"""


def content(place: Installation) -> list[tuple]:
    return place.query(CONTENT, place.paths.warehouse)


@pytest.fixture(scope="module")
def undisturbed(company: Company, tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    """What the second night reads when nothing goes wrong."""
    company.server.set_now(SECOND_NIGHT)
    place = company.copy(tmp_path_factory.mktemp("undisturbed") / "data")
    assert place.command("load", *NIGHT) == Outcome(0, "", "")
    return content(place)


@pytest.mark.parametrize(
    "kind", ["500", "502", "503", "504", "reset", "short_body", "truncated_json", "html", "429", "stall"]
)
def test_a_fault_that_passes_leaves_no_trace(company, tonight, undisturbed, monkeypatch, kind):
    if kind == "stall":
        monkeypatch.setitem(CursorAdminClient.__init__.__kwdefaults__, "read_timeout_seconds", 0.5)
    before = tonight.published_digest()
    company.server.faults[:] = [Fault(path, kind, after=after, times=2) for path in ROUTES for after in (0, 4)]
    done = tonight.command("load", *NIGHT)
    struck = {fault.path for fault in company.server.faults if fault.seen > fault.after}
    assert (done, struck) == (Outcome(0, "", ""), set(ROUTES))
    assert content(tonight) == undisturbed
    assert tonight.published_digest() == before
    assert last_run(tonight)["load"]["retries"] >= 6


@pytest.mark.parametrize("retry_after", ["1", "Tue, 17 Nov 2026 02:00:01 GMT"])
def test_a_429_says_how_long_to_wait_in_seconds_or_as_a_date(company, tonight, undisturbed, retry_after):
    company.server.faults[:] = [Fault(ROUTES[0], "429", retry_after=retry_after)]
    assert tonight.command("load", *NIGHT) == Outcome(0, "", "")
    asked = [one.at for one in company.server.requests if one.path == ROUTES[0]]
    throttled = next(one.at for one in reversed(company.server.requests) if one.fault == "429")
    assert min(at for at in asked if at > throttled + 0.2) >= throttled + 1
    assert content(tonight) == undisturbed
    assert last_run(tonight)["load"]["throttled"] == 1


LASTING = {
    "500": "{path} answered 500 (An unexpected error occurred) " + TROUBLE,
    "502": "{path} answered 502 " + TROUBLE,
    "reset": "127.0.0.1 gave no whole answer ({path}): the connection broke. Check the network; " + NEXT,
    "stall": "Could not reach 127.0.0.1 ({path}): no answer in time. Check base_url and the network; " + NEXT,
    "truncated_json": "{path} answered 200 with something that is not JSON (application/json, {size} bytes). "
    f"{BASE_URL_SETTING} and check proxies between; {NEXT}",
    "html": "{path} answered 200 with something that is not JSON (text/html, {size} bytes). "
    f"{BASE_URL_SETTING} and check proxies between; {NEXT}",
    "429": "{path} answered 429 (Rate limit exceeded. Please try again later.) until the attempts for one request were "
    "used up. If something else reads this team's data, run it at another time, or lower rate_limit_per_minute or set "
    f"rate_limit_shared = true under [sources.cursor_admin] in .dlt/config.toml; {NEXT}",
    "401": f"Cursor refused the key (401, {{path}}). Set {KEY_SETTING} Cursor said: Invalid API key",
    "403": "{path} answered 403 (Enterprise access required): the plan of this team or the key's scope does not allow "
    f"it. Check in Cursor's dashboard that the team is on the plan that offers this route, or set {KEY_SETTING}",
    "missing_key": f"{{path}} answered without the key {{rows}}. {SHAPE}",
    "changed_type": "{path}{changed}",
}
ROWS = dict(zip(ROUTES, ("usageEvents", "groups", "teamMembers", "events"), strict=True))
DAMAGED = "The API changed or the answer is damaged: nothing of it was stored. Run again, and report it if it stays."
CHANGED = (
    f": `chargedCents` holds a value that is not a number. {DAMAGED}",
    f": `joinedAt` is not an ISO 8601 time. {DAMAGED}",
    f": `email` holds a value that is not a text. {DAMAGED}",
    f" answered with pagination.totalCount of type dict, not int. {SHAPE}",
)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("kind", LASTING)
def test_a_fault_that_lasts_is_one_message_and_what_is_published_stays(company, tonight, monkeypatch, kind, path):
    if kind == "stall":
        monkeypatch.setitem(CursorAdminClient.__init__.__kwdefaults__, "total_seconds_per_request", 0.5)
    before = tonight.published_digest()
    company.server.faults[:] = [Fault(path, kind, times=None)]
    done = tonight.command("run", *NIGHT)
    message = re.sub(r"\d+ bytes", "{size} bytes", done.stderr)
    changed = dict(zip(ROUTES, CHANGED, strict=True))[path]
    expected = LASTING[kind].format(path=path, rows=ROWS[path], changed=changed, size="{size}") + "\n"
    assert (done.exit_code, done.stdout, message) == (1, "", expected)
    assert tonight.published_digest() == before
    status = tonight.command("status", "--format", "json")
    told = json.loads(status.stdout)
    assert (status.exit_code, told["is_well"]) == (1, False)
    assert told["attention"][0]["severity"] == "run"
    assert told["attention"][0]["message"].endswith(f"failed: {done.stderr.strip()}")
    assert told["published"]["run_id"] == last_run(company.first_night)["run_id"]


def test_after_failed_nights_the_next_one_reads_what_an_undisturbed_one_does(company, tonight, undisturbed):
    for fault in (Fault(ROUTES[0], "missing_key", after=3), Fault(ROUTES[1], "401"), Fault(ROUTES[2], "changed_type")):
        company.server.faults[:] = [fault]
        assert tonight.command("load", *NIGHT).exit_code == 1
    company.server.faults.clear()
    assert tonight.command("load", *NIGHT) == Outcome(0, "", "")
    assert content(tonight) == undisturbed


def test_a_plan_without_billing_groups_puts_everybody_in_unassigned_and_says_so(company, tmp_path):
    company.server.set_now(FIRST_NIGHT)
    company.server.faults[:] = [Fault(ROUTES[1], "403", times=None)]
    new = Installation(tmp_path / "data", company.server.base_url, company.server.api_key, FIRST_NIGHT.date())
    done = new.command("load", "--now", instant(FIRST_NIGHT))
    company.server.faults.clear()
    assert done == Outcome(0, "", "")
    assert last_run(new)["load"]["notices"] == [
        "default: no billing groups for this key: everybody stays in Unassigned and billing cycles are calendar months "
        f"where member spend names none. {LASTING['403'].format(path=ROUTES[1])}"
    ]
