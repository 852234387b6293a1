"""The public contract: every published table, its columns in order and their types. Renaming one breaks a report."""

from __future__ import annotations

import json
import re

import pytest

from tests.warehouse import PROJECT_DIR, Warehouse

CONTRACT_FILE = PROJECT_DIR / "tests" / "contract.json"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The first build of a team for which nothing could be read yet."""
    warehouse = Warehouse(tmp_path_factory.mktemp("contract"))
    warehouse.build("--exclude-resource-type", "unit_test", full_tests=True)
    return warehouse


def published_contract(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    rows = warehouse.rows(
        """
        select table_name, column_name, data_type
        from duckdb_columns()
        where database_name = 'chargeback' and schema_name = 'marts'
        order by table_name, column_index
        """
    )
    for table, column, data_type in rows:
        tables.setdefault(table, {})[column] = data_type
    return tables


def test_every_table_has_exactly_the_columns_and_types_of_the_contract(empty: Warehouse) -> None:
    contract = json.loads(CONTRACT_FILE.read_text())
    published = published_contract(empty)
    assert {table: list(columns.items()) for table, columns in published.items()} == {
        table: list(columns.items()) for table, columns in contract.items()
    }


def test_every_table_and_column_explains_itself(empty: Warehouse) -> None:
    silent = empty.rows(
        """
        select table_name, column_name from duckdb_columns()
        where database_name = 'chargeback' and schema_name = 'marts' and coalesce(trim(comment), '') = ''
        union all
        select table_name, null from duckdb_tables()
        where database_name = 'chargeback' and schema_name = 'marts' and coalesce(trim(comment), '') = ''
        """
    )
    assert silent == []


def test_types_are_what_the_units_in_the_names_promise(empty: Warehouse) -> None:
    promised = {
        "_cents": "DECIMAL(18,6)",
        "_usd": "DECIMAL(18,2)",
        "_tokens": "BIGINT",
        "_count": "BIGINT",
        "_at": "TIMESTAMP",
        "_date": "DATE",
        "_month": "DATE",
        "_id": "VARCHAR",
    }
    exceptions = {"billed_usd_previous_month": "DECIMAL(18,2)"}
    wrong = [
        (table, column, data_type)
        for table, columns in published_contract(empty).items()
        for column, data_type in columns.items()
        for suffix, wanted in promised.items()
        if column.endswith(suffix) and data_type != exceptions.get(column, wanted)
    ]
    assert wrong == []


def test_the_published_file_holds_tables_of_plain_columns_only(empty: Warehouse) -> None:
    objects = empty.rows(
        """
        select table_type, count(*) from information_schema.tables
        where table_catalog = 'chargeback' group by table_type
        """
    )
    assert [kind for kind, _ in objects] == ["BASE TABLE"]
    kinds = {kind for columns in published_contract(empty).values() for kind in columns.values()}
    assert kinds == {"VARCHAR", "BIGINT", "DECIMAL(18,6)", "DECIMAL(18,2)", "TIMESTAMP", "DATE", "BOOLEAN"}


def test_a_night_without_any_data_publishes_empty_tables_that_say_so(empty: Warehouse) -> None:
    assert empty.rows("select * from marts.fct_monthly_chargeback") == []
    assert empty.rows("select data_from_date, data_through_date from marts.mart_publication") == [(None, None)]
    assert empty.rows("select billing_group_id from marts.dim_billing_groups order by 1") == [
        ("group_unassigned",),
        ("unattributed",),
    ]


def test_every_proof_that_a_decision_names_exists() -> None:
    models = "".join(path.read_text() for path in sorted((PROJECT_DIR / "models").rglob("*.yml")))
    known = set(re.findall(r"^  - name: (\w+)$", models, re.MULTILINE))
    known |= {path.stem for path in (PROJECT_DIR / "dbt_project" / "tests").rglob("*.sql")}
    known |= {path.name for path in (PROJECT_DIR / "tests").glob("test_*.py")}
    decisions = (PROJECT_DIR / "models" / "DECISIONS.md").read_text().split("\n### ")[1:]
    for decision in decisions:
        proofs = re.findall(r"`([\w.]+)`", decision.partition("**Proof:**")[2])
        assert proofs, decision
        assert set(proofs) <= known, decision
