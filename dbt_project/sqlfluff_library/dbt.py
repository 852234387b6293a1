"""dbt's cross-database macros as far as our models use them: sqlfluff renders templates without dbt."""

from __future__ import annotations


def type_string() -> str:
    return "varchar"


def dateadd(datepart: str, interval: object, from_date_or_timestamp: str) -> str:
    return f"dateadd('{datepart}', {interval}, {from_date_or_timestamp})"


def datediff(first_date: str, second_date: str, datepart: str) -> str:
    return f"datediff('{datepart}', {first_date}, {second_date})"


def date_trunc(datepart: str, date: str) -> str:
    return f"date_trunc('{datepart}', {date})"


def last_day(date: str, datepart: str) -> str:
    return f"last_day('{datepart}', {date})"


def listagg(measure: str, delimiter_text: str, order_by_clause: str) -> str:
    return f"string_agg({measure}, {delimiter_text} {order_by_clause})"


def string_literal(value: str) -> str:
    return f"'{value}'"
