"""How many workers `serve` starts when nobody says a number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from webapp.cli import serve, serving
from webapp.cli.serving import share_of_time, usable_cores
from webapp.settings import load_settings


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_max", ".max").replace(
            "cpu_cfs", "cpu.cfs"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def test_the_share_of_time_of_a_container(tmp_path: Path) -> None:
    assert share_of_time(tmp_path) is None
    assert share_of_time(written(tmp_path / "a", cpu_max="150000 100000")) == 1.5
    assert share_of_time(written(tmp_path / "b", cpu_max="max 100000")) is None
    assert share_of_time(written(tmp_path / "c", cpu_max="rubbish")) is None
    first = {"cpu__cpu_cfs_quota_us": "50000", "cpu__cpu_cfs_period_us": "100000"}
    assert share_of_time(written(tmp_path / "d", **first)) == 0.5
    assert share_of_time(written(tmp_path / "e", **first | {"cpu__cpu_cfs_quota_us": "-1"})) is None


@pytest.mark.parametrize(
    ("cores", "quota", "workers"),
    [
        (1, "max", 1),
        (4, "max", 4),
        (64, "max", 8),
        (64, "250000", 3),
        (64, "50000", 1),
        (2, "400000", 2),
    ],
)
def test_one_for_each_core_and_no_more_than_there_is_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, quota: str, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)), raising=False)
    monkeypatch.setattr(serving, "CONTROL_GROUPS", written(tmp_path, cpu_max=f"{quota} 100000"))
    assert usable_cores(serve.MOST_WORKERS) == workers


def test_where_limits_are_counted_follows_from_the_number(tmp_path: Path) -> None:
    def place(**settings: str) -> str:
        given = {f"SWITCHBOARD_{name}": value for name, value in settings.items()}
        return load_settings(given, tmp_path).values.rate_limit_storage_url

    file = f"sqlite:///{tmp_path}/switchboard.db-limits"
    assert place() == place(WORKERS="0") == place(WORKERS="2") == file
    assert place(WORKERS="1") == "memory://"
    assert place(RATE_LIMIT_STORAGE_URL="memory://") == "memory://"


@pytest.mark.parametrize(
    ("told", "asked", "workers"),
    [
        ({}, None, 6),
        ({"WORKERS": "3"}, None, 3),
        ({"WORKERS": "3"}, 0, 6),
        ({"WORKERS": "3"}, 2, 2),
        ({"RATE_LIMIT_STORAGE_URL": "memory://"}, None, 1),
        ({"RATE_LIMIT_STORAGE_URL": "memory://", "WORKERS": "0"}, None, 6),
    ],
)
def test_what_is_told_goes_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, str],
    asked: int | None,
    workers: int,
) -> None:
    environment = {f"SWITCHBOARD_{name}": value for name, value in told.items()}
    monkeypatch.setattr(serve, "usable_cores", lambda most: min(6, most))
    monkeypatch.setattr(serve, "load_settings", lambda: load_settings(environment, tmp_path))
    assert serve._number(asked) == workers


@pytest.mark.parametrize(
    ("database", "limits", "place"),
    [
        ("postgresql://host/name", "memory://", "in memory"),
        ("postgres://host/name", "sqlite:////var/limits.db", "in /var/limits.db"),
        ("postgresql://host/name", "redis://:hunter2@host", ""),
        ("postgresql://host/name", "redis+cluster://host:1", ""),
        ("sqlite:////var/switchboard.db", "memory://", ""),
        ("sqlite:////var/switchboard.db", "sqlite:////var/limits.db", ""),
    ],
)
def test_who_counts_limits_for_itself_beside_others_is_told_so(
    tmp_path: Path, database: str, limits: str, place: str
) -> None:
    given = {"SWITCHBOARD_DATABASE_URL": database, "SWITCHBOARD_RATE_LIMIT_STORAGE_URL": limits}
    sentence = serve.counting_alone(load_settings(given, tmp_path).values)
    assert bool(sentence) == bool(place)
    assert place in sentence
