"""Settings: where they come from, and the sentences that stop a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.errors import ConfigurationError
from webapp.settings import Settings, load_settings, parse_duration, parse_size


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "switchboard.env").write_text(
        "# a comment\nSWITCHBOARD_MODEL='from-file'\nexport SWITCHBOARD_MAX_LOOPS=3\n"
    )
    loaded = load_settings({"SWITCHBOARD_MODEL": "from-environment"}, tmp_path)
    assert (loaded.values.model, loaded.values.max_loops) == ("from-environment", 3)
    assert loaded.source_of("model") == "environment"
    assert loaded.source_of("max_loops") == "file"
    assert loaded.source_of("tenant_queue") == "default"


def test_a_secret_can_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    loaded = load_settings({"SWITCHBOARD_SECRET_KEY_FILE": str(tmp_path / "secret")}, tmp_path)
    assert loaded.values.secret_key == "s3cret"
    assert loaded.source_of("secret_key") == "secret file"


def test_the_database_lies_in_the_instance_folder(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path).values.database_url == f"sqlite:///{tmp_path}/switchboard.db"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWITCHBOARD_MODLE", "gpt"),
        ("SWITCHBOARD_MAX_LOOPS", "many"),
        ("SWITCHBOARD_MAX_LOOPS", "0"),
        ("SWITCHBOARD_AUTH", "none"),
        ("SWITCHBOARD_INACTIVE_AFTER", "soon"),
        ("SWITCHBOARD_MAX_BODY_BYTES", "-1"),
        ("SWITCHBOARD_TRUSTED_PROXIES", "all"),
        ("SWITCHBOARD_LOG_FORMAT", "xml"),
        ("SWITCHBOARD_SECRET_KEY_FILE", "/nonexistent/file"),
    ],
)
def test_a_bad_setting_is_named_and_its_value_is_not(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value}, tmp_path)
    assert name in str(caught.value)
    assert value == "0" or value not in str(caught.value).replace(name, "")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"SWITCHBOARD_ONE": "1", "SWITCHBOARD_MAX_LOOPS": "x"}, tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_name_in_the_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "switchboard.env").write_text("SWITCHBOARD_MODEL=x\nPATH=/bin\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        load_settings({}, tmp_path)


def test_an_empty_variable_is_an_unset_one_but_for_the_instructions(tmp_path: Path) -> None:
    loaded = load_settings({"SWITCHBOARD_MAX_LOOPS": "", "SWITCHBOARD_INSTRUCTIONS": ""}, tmp_path)
    assert loaded.values.max_loops == 10
    assert loaded.values.instructions == ""


def test_lengths_of_time_and_sizes_are_read() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "15m", "24h", "7d", "500ms")] == [
        90,
        90,
        900,
        86_400,
        604_800,
        0.5,
    ]
    assert [parse_size(text) for text in ("1024", "512KiB", "1MiB", "2kb")] == [
        1024,
        524_288,
        1_048_576,
        2000,
    ]


def test_every_setting_is_in_the_readme() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for name in Settings.model_fields:
        assert name.upper() in readme, f"{name.upper()} is not in README.md"
