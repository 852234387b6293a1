"""Several teams: from sections of both files and from the environment, each with its own key and no other's."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from pipelines.cli import run_command, scrub
from pipelines.config import TeamSettings, load_team_settings
from pipelines.errors import ConfigError

KEYS = {name: f"crsr_{name}_{'0' * 20}" for name in ("top", "acme", "bolt", "org")}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Own settings files, read by dlt anew, and no setting of whoever runs the tests. Call it to write them."""
    for name in [name for name in os.environ if name.startswith(("CHARGEBACK__", "SOURCES__"))]:
        monkeypatch.delenv(name)
    (tmp_path / ".dlt").mkdir()
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))

    def write(secrets: str = "", config: str = "") -> None:
        (tmp_path / ".dlt" / "secrets.toml").write_text(secrets)
        (tmp_path / ".dlt" / "config.toml").write_text(config)
        Container()[PluggableRunContext].reload(str(tmp_path))

    write()
    yield write
    monkeypatch.undo()
    Container()[PluggableRunContext].reload()


def section(name: str, *lines: str) -> str:
    return "\n".join([f"[sources.cursor_admin.teams.{name}]", f'api_key = "{KEYS[name]}"', *lines, ""])


def test_sections_are_teams_and_inherit_everything_but_the_key(files) -> None:
    files(
        section("bolt")
        + section("acme", 'start_date = "2026-09-01"', "lookback_days = 5", "rate_limit_per_minute = 0"),
        '[sources.cursor_admin]\nteam = "unused"\nlookback_days = 4\nbase_url = "http://127.0.0.1:9/"\n'
        'start_date = "2026-10-01"\nrate_limit_per_minute = 7\nteam_id = "1"\n'
        '[sources.cursor_admin.teams.bolt]\nbase_url = "https://bolt.example.com"\nteam_id = 42\n',
    )
    acme, bolt = load_team_settings()
    common = (False, 60.0, None, None)
    assert acme == TeamSettings(
        "acme",
        KEYS["acme"],
        "http://127.0.0.1:9",
        date(2026, 9, 1),
        5,
        0,
        *common,
        None,
        "sources.cursor_admin.teams.acme",
    )
    assert bolt == TeamSettings(
        "bolt", KEYS["bolt"], "https://bolt.example.com", date(2026, 10, 1), 4, 7, *common, "42",
        "sources.cursor_admin.teams.bolt",
    )  # fmt: skip


def test_the_environment_alone_makes_a_team_and_goes_before_the_files(files, monkeypatch: pytest.MonkeyPatch) -> None:
    files(section("acme"))
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__TEAMS__DATA_ENG__API_KEY", KEYS["bolt"])
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__TEAMS__ACME__LOOKBACK_DAYS", "9")
    assert [(one.team, one.api_key, one.lookback_days) for one in load_team_settings()] == [
        ("acme", KEYS["acme"], 9),
        ("data_eng", KEYS["bolt"], 3),
    ]


def test_the_key_at_the_top_is_one_team_more(files, monkeypatch: pytest.MonkeyPatch) -> None:
    files(section("acme"))
    assert [one.team for one in load_team_settings()] == ["acme"]
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", KEYS["top"])
    assert [(one.team, one.section) for one in load_team_settings()] == [
        ("default", "sources.cursor_admin"),
        ("acme", "sources.cursor_admin.teams.acme"),
    ]


def test_the_key_of_the_organisation_serves_its_teams_at_the_same_address_alone(files) -> None:
    top = f'[sources.cursor_admin]\norganization_api_key = "{KEYS["org"]}"\norganization_id = "org_1"\n'
    files(top + section("acme") + section("bolt", 'base_url = "https://bolt.example.com"'))
    acme, bolt = load_team_settings()
    assert (acme.organization_api_key, acme.organization_id) == (KEYS["org"], "org_1")
    assert bolt.organization_api_key is None


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        (
            "[sources.cursor_admin.teams.acme]\nlookback_days = 3\n",
            "No API key for the team 'acme'. Set api_key under [sources.cursor_admin.teams.acme] in .dlt/secrets.toml,",
        ),
        (
            section("acme", 'apikey = "x"'),
            "[sources.cursor_admin.teams.acme] holds 'apikey', which no team can set: api_key, base_url,",
        ),
        (
            section("acme", "lookback_days = 0"),
            "SOURCES__CURSOR_ADMIN__TEAMS__ACME__LOOKBACK_DAYS must be at least 1, not 0.",
        ),
        (
            section("acme", 'start_date = "soon"'),
            "SOURCES__CURSOR_ADMIN__TEAMS__ACME__START_DATE must be a date such as 2026-08-01,",
        ),
        (
            f'[sources.cursor_admin.teams."a/b"]\napi_key = "{KEYS["acme"]}"\n',
            "'a/b' cannot be the slug of a team: letters, digits, - and _ can.",
        ),
        (
            f'[sources.cursor_admin.teams]\nacme = "{KEYS["acme"]}"\n',
            "[sources.cursor_admin.teams] holds 'acme', which is no section.",
        ),
        (
            section("acme") + section("bolt").replace(".bolt", ".Acme"),
            "[sources.cursor_admin.teams.Acme] and [sources.cursor_admin.teams.acme] are both the team 'acme'.",
        ),
        (
            f'[sources.cursor_admin]\nteam = "acme"\napi_key = "{KEYS["top"]}"\n' + section("acme"),
            "[sources.cursor_admin] and [sources.cursor_admin.teams.acme] are both the team 'acme'.",
        ),
        (
            section("acme") + section("bolt").replace(KEYS["bolt"], KEYS["acme"]),
            "[sources.cursor_admin.teams.acme] and [sources.cursor_admin.teams.bolt] hold the same api_key",
        ),
        (
            section("acme", f'organization_api_key = "{KEYS["org"]}"'),
            "There is an organization_api_key for the team 'acme' but no organization_id.",
        ),
    ],
)
def test_what_cannot_be_is_wrong_use_and_shows_no_key(
    files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, secrets: str, message: str
) -> None:
    files(secrets)
    with pytest.raises(ConfigError) as refused:
        load_team_settings()
    assert message in str(refused.value)
    monkeypatch.setenv("CHARGEBACK__DATA_DIR", str(tmp_path / "data"))
    assert run_command(["run"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert not any(key in told.err + str(refused.value) for key in KEYS.values())


def test_the_keys_of_all_sections_are_scrubbed_also_when_the_settings_are_wrong(files) -> None:
    files(section("acme") + section("bolt", f'organization_api_key = "{KEYS["org"]}"'))
    assert scrub(f"{KEYS['acme']} {KEYS['bolt']} {KEYS['org']}") == "*** *** ***"


def test_a_team_elsewhere_has_no_clock_but_its_own(files, capsys) -> None:
    files(section("acme", 'base_url = "http://127.0.0.1:9"') + section("bolt"))
    assert run_command(["load", "--now", "2026-11-16"]) == 2
    assert "--now stands in for the clock only against a server on loopback" in capsys.readouterr().err
