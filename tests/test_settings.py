"""Settings: where they come from, and the sentences that stop a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.errors import ConfigurationError
from webapp.setting_kinds import in_units
from webapp.settings import (
    KINDS,
    Settings,
    client_settings,
    load_settings,
    parse_duration,
    parse_size,
)


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


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("MODLE", "did you mean SWITCHBOARD_MODEL?"),
        ("rate_limits", "did you mean SWITCHBOARD_RATE_LIMIT?"),
        ("OPENAI_BASE_URLS", "did you mean OPENAI_BASE_URL?"),
        ("NONSENSE", "check its spelling."),
        ("ONE", "check its spelling."),
    ],
)
def test_an_unknown_name_is_told_the_one_that_is_near(
    tmp_path: Path, name: str, advice: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({f"SWITCHBOARD_{name}": "1"}, tmp_path)
    assert str(caught.value).endswith(advice)


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


def test_what_is_read_in_a_way_of_its_own_is_a_setting() -> None:
    assert KINDS.keys() <= Settings.model_fields.keys()


def test_every_setting_is_in_the_readme() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for name in Settings.model_fields:
        assert name.upper() in readme, f"{name.upper()} is not in README.md"


HUGE = "9" * 400

BAD_VALUES = [
    ("RATE_LIMIT", "lots"),
    ("RATE_LIMIT", "60/fortnight"),
    ("RATE_LIMIT", "0/minute"),
    ("RATE_LIMIT", f"{HUGE}/minute"),
    ("RATE_LIMIT", "60/minute;;2000/day"),
    ("TOKEN_BUDGET", "abc"),
    ("TOKEN_BUDGET", "100/hour"),
    ("TOKEN_BUDGET", "1/day;2/day"),
    ("TOKEN_BUDGET", "-5/day"),
    ("CORS_ORIGINS", "example.org"),
    ("CORS_ORIGINS", "https://example.org/"),
    ("CORS_ORIGINS", "https://example.org/app"),
    ("CORS_ORIGINS", "https://example.org:443"),
    ("CORS_ORIGINS", "https://example.org:"),
    ("CORS_ORIGINS", "https://*.example.org"),
    ("CORS_ORIGINS", "https://you:me@example.org"),
    ("CORS_ORIGINS", "https://example.org:99999"),
    ("CORS_ORIGINS", "ftp://example.org"),
    ("CORS_ORIGINS", "null"),
    ("CORS_ORIGINS", "https://"),
    ("CORS_ORIGINS", "*, https://app.example"),
    ("CORS_ORIGINS", "https://app.example https://exa mple"),
    ("ALLOWED_HOSTS", "https://example.org"),
    ("ALLOWED_HOSTS", "example.org:8080"),
    ("ALLOWED_HOSTS", "example.org/chat"),
    ("ALLOWED_HOSTS", "*.example.org"),
    ("ALLOWED_HOSTS", "exa_mple..org"),
    ("ALLOWED_HOSTS", "[::1]:80"),
    ("OPENAI_BASE_URL", "127.0.0.1:1234"),
    ("OPENAI_BASE_URL", "localhost:1234/v1"),
    ("OPENAI_BASE_URL", "api.example.org/v1"),
    ("OPENAI_BASE_URL", "ftp://example.org/v1"),
    ("OPENAI_BASE_URL", "http:///v1"),
    ("OPENAI_BASE_URL", "http://example.org:port/v1"),
    ("OPENAI_BASE_URL", "http://exam ple.org/v1"),
    ("OPENAI_BASE_URL", "http://[::1/v1"),
    ("OPENAI_API_KEY", "sk-with a space"),
    ("OPENAI_API_KEY", "sk-“curly”"),
    ("DATABASE_URL", "switchboard.db"),
    ("DATABASE_URL", "sqlite://switchboard.db"),
    ("DATABASE_URL", "sqlite:///"),
    ("DATABASE_URL", "sqlite:///:memory:"),
    ("DATABASE_URL", "sqlite:////var/lib/"),
    ("DATABASE_URL", "mysql://root:hunter2@db/x"),
    ("RATE_LIMIT_STORAGE_URL", "redis"),
    ("RATE_LIMIT_STORAGE_URL", "nosuch://user:hunter2@host"),
    ("RATE_LIMIT_STORAGE_URL", "async+redis://host"),
    ("RATE_LIMIT_STORAGE_URL", "redis://host:port"),
    ("RATE_LIMIT_STORAGE_URL", "redis://host:99999"),
    ("RATE_LIMIT_STORAGE_URL", "sqlite://limits.db"),
    ("RATE_LIMIT_STORAGE_URL", "sqlite:///"),
    ("RATE_LIMIT_STORAGE_URL", "memory://somewhere"),
    ("RATE_LIMIT_STORAGE_URL", "http://localhost"),
    ("JWT_JWKS_URL", "http://id.example.org/keys"),
    ("JWT_JWKS_URL", "id.example.org/keys"),
    ("JWT_JWKS_URL", "https:///keys"),
    ("JWT_SECRET", "short"),
    ("JWT_SECRET", "a" * 64),
    ("USER_ID_KEY", "ab" * 32),
    ("MODEL", " \x07"),
    ("MODEL", "two\nlines"),
    ("AGENT_NAME", "x" * 101),
    ("INSTRUCTIONS", "x" * 32_001),
    ("MODEL_TIMEOUT", "a minute"),
    ("MODEL_TIMEOUT", "0s"),
    ("MODEL_TIMEOUT", "-5"),
    ("MODEL_TIMEOUT", "nan"),
    ("MODEL_TIMEOUT", "inf"),
    ("MODEL_TIMEOUT", "1e3"),
    ("MODEL_TIMEOUT", "2h"),
    ("MODEL_TIMEOUT", HUGE),
    ("INACTIVE_AFTER", "30 fortnights"),
    ("INACTIVE_AFTER", "0d"),
    ("INACTIVE_AFTER", "999999d"),
    ("CLEANUP_INTERVAL", "never"),
    ("REQUEST_RETENTION", "-1d"),
    ("SESSION_IDLE", "0"),
    ("MAX_LOOPS", "1.5"),
    ("MAX_LOOPS", "1_0"),
    ("MAX_LOOPS", "١٠"),
    ("MAX_LOOPS", HUGE),
    ("MEMORY_MAX_MESSAGES", "-1"),
    ("MEMORY_MAX_MESSAGES", "1000000000000000000000"),
    ("CONTEXT_MAX_MESSAGES", "1"),
    ("CONTEXT_MAX_MESSAGES", "10001"),
    ("MESSAGE_MAX_CHARS", "0"),
    ("MAX_BODY_BYTES", "1TB"),
    ("MAX_BODY_BYTES", "100"),
    ("MAX_BODY_BYTES", HUGE),
    ("TENANT_QUEUE", "1001"),
    ("TRUSTED_PROXIES", "true"),
    ("TRUSTED_PROXIES", "11"),
    ("HIDE_CONVERSATIONS", "maybe"),
    ("LOG_USER_IDS", "2"),
    ("LOG_LEVEL", "loud"),
    ("AUTH", "off"),
    ("CLEANUP_INTERVAL", "1ms"),
    ("SESSION_IDLE", "10ms"),
]


@pytest.mark.parametrize(("setting", "value"), BAD_VALUES)
def test_every_setting_is_tested_where_it_is_read(tmp_path: Path, setting: str, value: str) -> None:
    name = setting if setting.startswith("OPENAI_") else f"SWITCHBOARD_{setting}"
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value}, tmp_path)
    (sentence,) = str(caught.value).splitlines()
    assert sentence.startswith(f"{name} ")
    assert sentence.endswith(".")
    assert "hunter2" not in sentence
    assert len(value) < 30 or value not in sentence


@pytest.mark.parametrize(
    ("setting", "written", "read"),
    [
        ("cors_origins", "HTTPS://App.Example, http://localhost:3000", None),
        ("cors_origins", "*", ("*",)),
        ("cors_origins", "http://[::1]:3000", ("http://[::1]:3000",)),
        ("allowed_hosts", "Chat.Example .inner.example", ("chat.example", ".inner.example")),
        ("allowed_hosts", "[::1] 192.0.2.1 localhost", ("::1", "192.0.2.1", "localhost")),
        ("database_url", "sqlite:////var/lib/s.db", "sqlite:////var/lib/s.db"),
        ("rate_limit_storage_url", "redis://:secret@host:6379/0", "redis://:secret@host:6379/0"),
        ("rate_limit_storage_url", "sqlite:///limits.db", "sqlite:///limits.db"),
        ("rate_limit_storage_url", "redis+sentinel://a:1,b:2/m", "redis+sentinel://a:1,b:2/m"),
        ("rate_limit", "10 per second; 5/2minutes", "10 per second; 5/2minutes"),
        ("token_budget", "5/day", "5/day"),
        ("jwt_jwks_url", "http://127.0.0.1:5000/keys", "http://127.0.0.1:5000/keys"),
        ("model_timeout", "1 m", 60.0),
        ("tool_timeout", "1500ms", 1.5),
        ("tool_result_max_chars", "4000", 4000),
        ("hide_conversations", "Yes", True),
        ("log_level", "debug", "DEBUG"),
        ("log_format", "JSON", "json"),
        ("max_loops", " 5\r", 5),
        ("model", "gpt-4o\r\n", "gpt-4o"),
    ],
)
def test_what_is_meant_well_is_read(
    tmp_path: Path, setting: str, written: str, read: object
) -> None:
    values = load_settings({f"SWITCHBOARD_{setting.upper()}": written}, tmp_path).values
    expected = ("https://app.example", "http://localhost:3000") if read is None else read
    assert getattr(values, setting) == expected


def test_a_base_url_may_have_a_query_and_a_port(tmp_path: Path) -> None:
    url = "http://localhost:1234/v1?api-version=2"
    assert load_settings({"OPENAI_BASE_URL": url}, tmp_path).values.openai_base_url == url


def test_a_file_that_an_editor_wrote_its_own_way_is_read(tmp_path: Path) -> None:
    (tmp_path / "switchboard.env").write_bytes(
        b"\xef\xbb\xbfSWITCHBOARD_MODEL=one\r\n"
        b"SWITCHBOARD_INSTRUCTIONS=Say \xe2\x80\xa8 nothing\r\n\r\n# end"
    )
    values = load_settings({}, tmp_path).values
    assert (values.model, values.instructions) == ("one", "Say \u2028 nothing")


def test_all_faults_of_the_file_are_told_with_their_lines_and_with_the_others(
    tmp_path: Path,
) -> None:
    file = tmp_path / "switchboard.env"
    file.write_text(
        "SWITCHBOARD_MODEL=one\nnonsense\nSWITCHBOARD_MODEL=two\nSWITCHBOARD_RATE_LIMIT=lots\n"
        "SWITCHBOARD_AGENT_NAME='open\nSWITCHBOARD_MODLE=x\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"SWITCHBOARD_MAX_LOOPS": "x"}, tmp_path)
    told = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in told[:3]] == [
        f"{file}, line {number}" for number in (2, 3, 5)
    ]
    assert told[3].endswith("did you mean SWITCHBOARD_MODEL?")
    assert {line.split()[0] for line in told[3:]} == {
        "SWITCHBOARD_MODLE",
        "SWITCHBOARD_MAX_LOOPS",
        "SWITCHBOARD_RATE_LIMIT",
    }
    assert f"in {file}" in next(line for line in told if "RATE_LIMIT" in line)


def test_a_secret_and_its_file_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    both = {
        "SWITCHBOARD_SECRET_KEY": "x",
        "SWITCHBOARD_SECRET_KEY_FILE": str(tmp_path / "secret"),
    }
    with pytest.raises(ConfigurationError, match="both set"):
        load_settings(both, tmp_path)
    # The environment goes before the file, whichever way each says it.
    (tmp_path / "switchboard.env").write_text("SWITCHBOARD_SECRET_KEY_FILE=/nonexistent\n")
    loaded = load_settings({"SWITCHBOARD_SECRET_KEY": "x"}, tmp_path)
    assert loaded.values.secret_key == "x"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00s", b"x" * (1024 * 1024 + 1), None])
def test_a_secret_file_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="SWITCHBOARD_JWT_SECRET_FILE names a file that"):
        load_settings({"SWITCHBOARD_JWT_SECRET_FILE": str(path)}, tmp_path)


def test_a_client_s_names_are_known_and_no_settings(tmp_path: Path) -> None:
    environment = {"SWITCHBOARD_API_KEY": "sb_x", "SWITCHBOARD_URL": "http://x"}
    load_settings(environment, tmp_path)
    assert client_settings(environment) == ("http://x", "sb_x")
    assert client_settings({}) == (None, None)


def test_a_length_of_time_is_shown_as_people_write_it() -> None:
    for text in ("90s", "1m", "36h", "35d", "500ms", "1ms", "61s"):
        assert parse_duration(in_units(parse_duration(text))) == parse_duration(text)
        assert in_units(parse_duration(text)) == text
    assert [in_units(seconds) for seconds in (3600, 1800.0, 0, 1.5)] == [
        "1h",
        "30m",
        "0ms",
        "1500ms",
    ]
