"""The tables people edit: made once, checked line by line, and handed to dbt clean."""

from __future__ import annotations

import pytest

from pipelines.errors import ConfigError
from pipelines.paths import data_paths
from pipelines.seeds import (
    SEEDS,
    check_plans,
    create_missing_seeds,
    read_seeds,
    seat_warnings,
    unknown_group_warnings,
    unknown_owner_warnings,
    write_clean_seeds,
)

NUMBER = "a number such as 32.50, not negative, with at most"


@pytest.fixture
def paths(tmp_path):
    paths = data_paths(tmp_path, tmp_path / "seeds")
    create_missing_seeds(paths)
    return paths


def problems(paths, name: str, content: str | bytes) -> list[str]:
    path = paths.seeds_dir / f"{name}.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as told:
        read_seeds(paths)
    where = f"{path.name} in {paths.seeds_dir}"
    assert all(line.startswith((where, "and ")) for line in str(told.value).splitlines())
    return [line.removeprefix(where) for line in str(told.value).splitlines()]


def test_the_first_run_makes_files_with_headers_and_a_later_one_leaves_them_alone(paths):
    plans = paths.seeds_dir / "plans.csv"
    assert plans.read_text() == "team,plan,valid_from_date,usage_rate\n"
    assert {path.stem for path in paths.seeds_dir.iterdir()} == set(SEEDS)
    assert read_seeds(paths) == {name: [] for name in SEEDS}
    plans.write_text("team,plan,valid_from_date,usage_rate\n,teams,,\n")
    create_missing_seeds(paths)
    assert plans.read_text().endswith(",teams,,\n")


def test_what_a_spreadsheet_saves_reaches_dbt_clean(paths, tmp_path):
    rows = (' enterprise ,"acme, inc",0.8333,2026-11-01', ",,,", "teams,,,", "")
    saved = "\r\n".join(['\ufeffplan,"team",usage_rate,valid_from_date', *rows])
    (paths.seeds_dir / "plans.csv").write_bytes(saved.encode())
    seeds = read_seeds(paths)
    assert [row.line for row in seeds["plans"]] == [2, 4]
    write_clean_seeds(seeds, tmp_path / "clean")
    assert (tmp_path / "clean" / "plans.csv").read_text() == (
        'team,plan,valid_from_date,usage_rate\n"acme, inc",enterprise,2026-11-01,0.8333\n,teams,,\n'
    )
    assert (tmp_path / "clean" / "seat_types.csv").read_text() == "team,user_email,seat_type,valid_from_date\n"


def test_a_wrong_header_names_what_lacks_what_is_unknown_and_what_is_wanted(paths):
    wanted = "Wanted, in any order, separated by commas: team, plan, valid_from_date, usage_rate."
    assert problems(paths, "plans", "team,plan,from\n") == [
        f", line 1: lacks the column valid_from_date, usage_rate and has an unknown column 'from'. {wanted}"
    ]
    assert problems(paths, "plans", "team,plan,valid_from_date,usage_rate,team\n") == [
        f", line 1: has the column team twice. {wanted}"
    ]
    assert problems(paths, "plans", "") == [
        f", line 1: lacks the column team, plan, valid_from_date, usage_rate. {wanted}"
    ]


def test_each_wrong_value_is_named_by_line_and_column(paths):
    rows = [
        "acme,enterprize,2026-11-01,1",
        "acme,,2026-02-30,1",
        "acme,teams,01.11.2026,-1",
        "acme,teams,,1.1234567",
        "acme,teams,2026-12-01",
    ]
    assert problems(paths, "plans", "\n".join(["team,plan,valid_from_date,usage_rate", *rows])) == [
        ", line 2, column plan: 'enterprize' is not one of teams, enterprise.",
        ", line 3, column plan: empty. A value is needed.",
        ", line 3, column valid_from_date: '2026-02-30' is not a date such as 2026-11-01.",
        ", line 4, column valid_from_date: '01.11.2026' is not a date such as 2026-11-01.",
        f", line 4, column usage_rate: '-1' is not {NUMBER} 6 decimals.",
        f", line 5, column usage_rate: '1.1234567' is not {NUMBER} 6 decimals.",
        ", line 6: 3 columns where the header has 4.",
    ]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e3", "1,5", "$5", "1" * 17])
def test_only_plain_numbers_are_money(paths, value):
    content = f'team,seat_type,monthly_price_usd,valid_from_date\n,standard,"{value}",\n'
    assert problems(paths, "seat_prices", content) == [
        f", line 2, column monthly_price_usd: {value!r} is not {NUMBER} 2 decimals."
    ]


def test_two_rows_for_the_same_day_are_one_too_many(paths):
    rows = "acme,Ada@example.com,premium,\nacme,ada@example.com,standard,\n"
    assert problems(paths, "seat_types", f"team,user_email,seat_type,valid_from_date\n{rows}") == [
        ", line 3: team, user_email, valid_from_date are the same as in line 2. Keep one of them."
    ]


def test_a_file_that_is_no_utf8_and_a_torn_quote_are_named(paths):
    assert problems(paths, "billing_groups", "team,ü\n".encode("latin-1")) == [
        ": not UTF-8 text. Save it as CSV in UTF-8."
    ]
    told = problems(paths, "billing_groups", 'team,billing_group_id,cost_center,gl_account,owner\n,"g1,,,\n')
    assert told == [", line 2: unexpected end of data. Save it as CSV, with commas and double quotes."]


def test_many_problems_are_not_all_listed(paths):
    rows = "\n".join(f"team{number},basic,," for number in range(14))
    told = problems(paths, "plans", f"team,plan,valid_from_date,usage_rate\n{rows}\n")
    assert len(told) == 11
    assert told[-1] == "and 4 more"


def test_a_team_without_a_plan_is_refused_whatever_the_others_have(paths):
    (paths.seeds_dir / "plans.csv").write_text("team,plan,valid_from_date,usage_rate\nacme,teams,,\n")
    seeds = read_seeds(paths)
    check_plans(None, seeds, ["acme"], paths)
    check_plans("teams", seeds, ["acme", "other"], paths)
    with pytest.raises(ConfigError) as told:
        check_plans(None, seeds, ["acme", "other"], paths)
    assert str(told.value) == (
        "No plan is set for team other, and it decides what included usage costs: on `teams` the seat has paid for it, "
        "on `enterprise` it draws on the pool. Set CHARGEBACK__PLAN to teams or enterprise, or add a row to "
        f"{paths.seeds_dir / 'plans.csv'}."
    )


def test_a_group_that_cursor_never_listed_is_named_by_line(paths):
    (paths.seeds_dir / "billing_groups.csv").write_text(
        "team,billing_group_id,cost_center,gl_account,owner\n,group_a,1,,\n,group_slip,2,,\n"
    )
    seeds = read_seeds(paths)
    assert unknown_group_warnings("billing_groups", seeds["billing_groups"], {"group_a"}) == [
        "billing_groups.csv, line 3, column billing_group_id: Cursor never listed a group 'group_slip'. "
        "If it is a slip, correct it: it stands for a group of that name."
    ]


def test_a_budget_for_an_owner_that_nothing_else_names_is_named_by_line(paths):
    (paths.seeds_dir / "budgets.csv").write_text(
        "team,month,owner_type,owner_id,budget_usd\n"
        ",2026-11-01,billing_group,group_a,10\n,2026-11-01,billing_group,sa_1,10\n"
        ",2026-11-01,service_account,sa_1,10\n,2026-11-01,service_account,group_a,10\n"
    )
    assert unknown_owner_warnings(read_seeds(paths), {"group_a"}, {"sa_1"}) == [
        "budgets.csv, line 3, column owner_id: neither Cursor nor another seed names a group 'sa_1'. "
        "If it is a slip, correct it: nothing is charged to it.",
        "budgets.csv, line 5, column owner_id: no usage event and no row of service_accounts.csv names a service "
        "account 'group_a'. If it is a slip, correct it: nothing is charged to it.",
    ]
    (paths.seeds_dir / "billing_groups.csv").write_text(
        "team,billing_group_id,cost_center,gl_account,owner\n,sa_1,,,\n"
    )
    (paths.seeds_dir / "service_accounts.csv").write_text(
        "team,service_account_id,name,email,owner,purpose,billing_group_id,key_rotated_on,rotation_days,valid_from_date\n"
        ",group_a,,,,,,,,\n"
    )
    assert unknown_owner_warnings(read_seeds(paths), {"group_a"}, {"sa_1"}) == []


def test_a_budget_is_for_a_month_a_known_kind_of_owner_and_an_amount(paths):
    rows = ",2026-11-02,team,,-5\n,2026-11-01,billing_group,g1,0\n,2026-11-01,billing_group,g1,7\n"
    assert problems(paths, "budgets", f"team,month,owner_type,owner_id,budget_usd\n{rows}") == [
        ", line 2, column month: '2026-11-02' is not the first day of a month, such as 2026-11-01.",
        ", line 2, column owner_type: 'team' is not one of billing_group, service_account.",
        ", line 2, column owner_id: empty. A value is needed.",
        f", line 2, column budget_usd: '-5' is not {NUMBER} 2 decimals.",
        ", line 4: team, month, owner_type, owner_id are the same as in line 3. Keep one of them.",
    ]


def test_a_seat_type_without_a_price_and_an_address_nobody_has_are_named_by_line(paths):
    (paths.seeds_dir / "seat_prices.csv").write_text(
        "team,seat_type,monthly_price_usd,valid_from_date\n,standard,32,\nacme,premium,96,\n"
    )
    (paths.seeds_dir / "seat_types.csv").write_text(
        "team,user_email,seat_type,valid_from_date\n,Ada@example.com,premium,\n,slip@example.com,standard,\n"
    )
    (paths.seeds_dir / "committed_seats.csv").write_text(
        "team,seat_type,seat_count,valid_from_date\nacme,premium,5,\nother,premium,5,\n"
    )
    seeds = read_seeds(paths)
    assert seat_warnings(seeds, {"ada@example.com"}) == [
        "seat_types.csv, line 3, column user_email: Cursor never listed this address among the members. If it is a "
        "slip, correct it: the row changes nobody's seat.",
        "committed_seats.csv, line 3, column seat_type: seat_prices.csv has no price for 'premium', only for standard. "
        "Correct the type or add its price.",
    ]
    seeds["seat_prices"].clear()
    assert seat_warnings(seeds, {"ada@example.com", "slip@example.com"}) == []
