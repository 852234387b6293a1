"""Where things lie. Every path is settled once here, absolute: dlt looks for `.dlt/` in the working directory,
and dbt given a relative database path creates an empty file there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
DLT_CONFIG_DIR = PROJECT_DIR / ".dlt"


@dataclass(frozen=True)
class DataPaths:
    """The files of one data folder. `warehouse` is private and to be backed up; `published` is what everybody reads."""

    data_dir: Path
    seeds_dir: Path

    @property
    def warehouse(self) -> Path:
        return self.data_dir / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.data_dir / "chargeback.duckdb"

    @property
    def previous(self) -> Path:
        return self.data_dir / "previous" / "chargeback.duckdb"

    @property
    def build_dir(self) -> Path:
        return self.data_dir / ".build"

    @property
    def build_file(self) -> Path:
        return self.build_dir / "chargeback.duckdb"

    @property
    def lock(self) -> Path:
        return self.data_dir / ".lock"

    @property
    def runs(self) -> Path:
        return self.data_dir / "runs.jsonl"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def data_paths(data_dir: str | Path, seeds_dir: str | Path | None = None) -> DataPaths:
    """Absolute paths; a relative folder is taken from the project folder, so that cron may start anywhere."""
    data = (PROJECT_DIR / Path(data_dir).expanduser()).resolve()
    seeds = (PROJECT_DIR / Path(seeds_dir).expanduser()).resolve() if seeds_dir else data / "seeds"
    return DataPaths(data_dir=data, seeds_dir=seeds)
