"""MCP servers of the served agent: the setting, and what a server tells of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SECRET, MakeApp, services_of
from tests.fakes import FakeModel, calls, until
from tests.web.admin.person import sign_in
from webapp.agent.mcp.server import HTTPServer, StdioServer
from webapp.errors import ConfigurationError
from webapp.mcp_servers import mcp_toolkits
from webapp.mcp_setting import mcp_servers
from webapp.settings import load_settings

ROUGH = str(Path(__file__).parent / "agent/mcp/rough_server.py")


def read(**servers: Any) -> Any:
    return mcp_servers(json.dumps({"mcpServers": servers}))


def test_the_form_is_that_of_other_programs() -> None:
    entries = read(
        time={"command": "python3", "args": ["-m", "x"], "env": {"TOKEN": "${T}"}, "timeout": "2m"},
        far={
            "type": "streamable-http",
            "url": "https://example.org/${PLACE:-mcp}",
            "headers": {"Authorization": "Bearer ${env:T}"},
            "includeTools": ["a"],
            "prefix": "far_",
            "autoApprove": [],
        },
        off={"command": "x", "disabled": True},
    )
    time, far = mcp_toolkits(entries, {"T": "secret"})
    assert time.server == StdioServer("python3", ("-m", "x"), {"TOKEN": "secret"})
    assert (time.name, time.use.timeout) == ("time", 120.0)
    headers = {"Authorization": "Bearer secret"}
    assert far.server == HTTPServer("https://example.org/mcp", headers)
    assert (far.use.include, far.use.prefix) == (frozenset({"a"}), "far_")
    assert "secret" not in repr(entries) + repr(time.server) + repr(far.server)


def test_it_may_be_a_list_or_a_file_and_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    listed = '[{"name": "a", "command": "x", "env": {"TOKEN": "${T}"}}]'
    (tmp_path / "mcp.json").write_text(listed)
    (tmp_path / "secret").write_text("from a file\n")
    settings = load_settings({"SWITCHBOARD_MCP_SERVERS": str(tmp_path / "mcp.json")}, tmp_path)
    assert settings.values.mcp_servers == mcp_servers(listed)
    (kit,) = mcp_toolkits(settings.values.mcp_servers, {"T_FILE": str(tmp_path / "secret")})
    assert isinstance(kit.server, StdioServer)
    assert kit.server.env == {"TOKEN": "from a file"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "must be JSON such as"),
        ("no-such-file.json", "the file cannot be read"),
        ("[1]", "must look like"),
        ('{"a b": {"command": "x"}}', "must give each server a name"),
        ('{"a": 3}', "a is no object"),
        ('{"a": {}}', "the server a has neither a command nor a url"),
        ('{"a": {"command": "x", "url": "y"}}', "has a command and a url"),
        ('{"a": {"command": "x", "comand": "y"}}', "has 'comand', which is not known here"),
        ('{"a": {"command": "x", "headers": {}}}', "has headers, which does not go with its type"),
        ('{"a": {"url": "http://x", "type": "sse"}}', "is of the type sse, which is given up"),
        ('{"a": {"url": "http://x", "type": "stdio"}}', "has a url and another type"),
        ('{"a": {"command": "x", "args": "-m"}}', "has a wrong args: input should be a list"),
        ('{"a": {"command": "x", "timeout": 30000}}', "has a wrong timeout"),
        ('{"a": {"command": "x"}, "A": {"command": "x"}}', "names the server a twice"),
    ],
)
def test_a_bad_value_stops_the_start_with_a_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"SWITCHBOARD_MCP_SERVERS": text}, tmp_path)
    assert refused.value.message.startswith("SWITCHBOARD_MCP_SERVERS ")
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("${MISSING}", "neither MISSING nor MISSING_FILE is set"),
        ("${SWITCHBOARD_SECRET_KEY}", "is a secret or a setting of Switchboard"),
        ("${OPENAI_API_KEY}", "is a secret or a setting of Switchboard"),
        ("${input:token}", "cannot be filled in"),
        ("${T}", "names a file that cannot be read"),
    ],
)
def test_a_reference_that_leads_nowhere_stops_it_too(
    written: str, sentence: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("T_FILE", "/no/such/file")
    server = {"command": "x", "env": {"TOKEN": written}}
    with pytest.raises(ConfigurationError, match="the server a: ") as refused:
        make_app(MCP_SERVERS=json.dumps({"a": server}))
    assert sentence in refused.value.message


def test_a_server_with_one_that_works_and_one_that_is_away(
    make_app: MakeApp, model: FakeModel
) -> None:
    servers = {
        "rough": {"command": sys.executable, "args": [ROUGH], "env": {"TOKEN": "t-o-k-e-n"}},
        "gone": {"url": "http://user:pass-word@127.0.0.1:9/mcp"},
    }
    model = FakeModel.of(calls(("echo", {"word": "hello"})), "done", otherwise="again")
    app = make_app(model, MCP_SERVERS=json.dumps(servers), TOOLS="on")
    services, client = services_of(app), app.test_client()
    services.connect()
    turn = client.post("/chat", json={"user_id": "u", "message": "say hello"})
    assert turn.json is not None
    assert turn.json["reply"] == "done"
    assert [m.content for m in model.seen[1] if m.role == "tool"] == ["hello"]

    gone = services.mcp_toolkits[1]
    until(lambda: gone.standing.state == "away")
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json is not None
    assert ready.json["checks"]["mcp_servers"] == "away"
    assert ready.json["reasons"]["mcp_servers"].startswith("1 of the 2 MCP servers is away")
    figures = client.get("/metrics").get_data(as_text=True)
    assert 'server="rough"} 1.0' in figures
    assert 'server="gone"} 0.0' in figures

    alice = sign_in(app, "alice", "owner")
    short = alice.client.get("/admin/agent").get_data(as_text=True)
    assert "16 tools" in short.replace("\xa0", " ")
    page = alice.client.get("/admin/tools").get_data(as_text=True)
    assert "16 tools" in page
    assert "It cannot be reached (ConnectError)." in page
    settings = alice.client.get("/admin/settings").get_data(as_text=True)
    for secret in ("t-o-k-e-n", "pass-word", SECRET):
        assert secret not in page + settings
    services.close()
    assert services.mcp_toolkits[0].standing.state == "idle"


def test_without_any_nothing_is_told(make_app: MakeApp) -> None:
    app = make_app()
    assert "mcp" not in json.dumps(app.test_client().get("/readyz").json)
    assert "mcp" not in app.test_client().get("/metrics").get_data(as_text=True)
