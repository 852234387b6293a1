"""What a reader of a month must know: what can still change, what is estimated, and what is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

DAYS_NAMED = 5
EVIDENCE = {
    "roster_snapshot": "on a roster read that day",
    "carried_forward": "carried forward from an earlier one",
    "audit_log": "on the audit log alone",
}


def month_notes(
    connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], next_month: date, *, is_whole_month: bool
) -> list[str]:
    """Sentences about the groups `asked` for, in the order of their weight. Days are those of the groups' teams."""
    return [
        *_state(connection, asked, next_month),
        *_unpriced(connection, asked),
        *_seats(connection, asked, is_whole_month),
        *_adjustments(connection, asked),
    ]


def _state(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], next_month: date) -> list[str]:
    month = asked["month"]
    found = connection.execute(
        """
        select
            coalesce(bool_or(is_provisional), true),
            coalesce(bool_and(is_closed), false),
            (select data_through_date from marts.mart_publication)
        from marts.fct_monthly_chargeback
        where charge_month = $month and billing_group_id in (select unnest($groups))
        """,
        dict(asked),
    ).fetchone()
    assert found is not None
    is_provisional, is_closed, through = found
    if is_closed:
        return ["Closed: these lines do not change any more; what is found later adjusts the first open month."]
    if not is_provisional:
        return []
    days = connection.execute(
        """
        select distinct coverage_date
        from marts.mart_load_coverage
        where
            resource = 'usage_events'
            and status in ('provisional', 'missing')
            and coverage_date >= $month and coverage_date < $next_month
            and team in (
                select team from marts.mart_group_months
                where charge_month = $month and billing_group_id in (select unnest($groups))
            )
        order by coverage_date
        """,
        {**asked, "next_month": next_month},
    ).fetchall()
    shown = ", ".join(day.isoformat() for (day,) in days[:DAYS_NAMED])
    more = f" and {len(days) - DAYS_NAMED} more" if len(days) > DAYS_NAMED else ""
    which = f"{_count(len(days), 'day')} of {month:%Y-%m} ({shown}{more})" if days else f"days of {month:%Y-%m}"
    return [f"Provisional: {which} can still change. Complete through {through}."]


def _unpriced(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any]) -> list[str]:
    found = connection.execute(
        """
        select count(*)
        from marts.fct_usage_events
        where usage_month = $month and is_unpriced and billing_group_id in (select unnest($groups))
        """,
        dict(asked),
    ).fetchone()
    return [f"{_count(found[0], 'event')} without a price yet: counted as 0."] if found and found[0] else []


def _seats(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any], is_whole_month: bool) -> list[str]:
    rows = connection.execute(
        """
        select seat_status = 'committed_unused', seat_evidence, seat_price_status, sum(seat_count), sum(seat_cents)
        from marts.fct_daily_seat_costs
        where seat_date >= $month and seat_date < $month + interval 1 month
            and billing_group_id in (select unnest($groups))
        group by all
        """,
        dict(asked),
    ).fetchall()
    notes = []
    held: dict[str, int] = {}
    not_priced = unused = 0
    unused_cents = Decimal(0)
    for is_unused, evidence, price_status, count, cents in rows:
        not_priced += count if price_status == "not_priced" else 0
        if is_unused:
            unused, unused_cents = unused + count, unused_cents + (cents or 0)
        else:
            held[evidence] = held.get(evidence, 0) + count
    if held:
        evidence = ", ".join(f"{held[name]:,} {words}" for name, words in EVIDENCE.items() if name in held)
        notes.append(
            f"Seats are an estimate from the prices in seat_prices.csv: {_count(sum(held.values()), 'seat-day')}, "
            f"{evidence}."
        )
    elif is_whole_month:
        notes.append("Seats: nothing shows who held one this month; none is in it.")
    if not_priced:
        notes.append(
            f"{_count(not_priced, 'seat-day')} without a price: seat_prices.csv has no row for the team, so seats cost "
            "nothing here."
        )
    if unused:
        usd = (unused_cents / 100).quantize(Decimal("0.01"))
        notes.append(f"Committed seats not taken: {_count(unused, 'seat-day')}, {usd:,.2f} USD, on Unattributed.")
    return notes


def _adjustments(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, Any]) -> list[str]:
    rows = connection.execute(
        """
        select adjusts_month, adjusts_charge_type, sum(billed_usd)
        from marts.fct_monthly_chargeback
        where
            charge_month = $month
            and charge_type = 'adjustment'
            and billing_group_id in (select unnest($groups))
        group by all
        order by all
        """,
        dict(asked),
    ).fetchall()
    return [
        f"Adjusts {charge_type} of {adjusted:%Y-%m}, which is closed, by {usd:+,.2f} USD."
        for adjusted, charge_type, usd in rows
    ]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
