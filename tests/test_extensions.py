"""Tests of toolkits and guardrails that an application adds, by `create_app` or by settings."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeApp, services_of, settings_for
from tests.fakes import FakeModel, calls, until
from webapp import create_app
from webapp.agent import Toolkit
from webapp.errors import ConfigurationError
from webapp.services import build_services

PACKAGE = '''
from webapp.agent import Toolkit, tool

def price(product: str) -> str:
    """Tell the price of a product."""
    return f"{product} costs 5 euros"

@tool
def stock(product: str) -> int:
    """Tell how many there are."""
    return 3

toolkit = Toolkit("shop", [price])
several = [toolkit, Toolkit("store", (stock,))]

def make():
    return Toolkit("made", [stock])

class Polite:
    """Refuses rude questions."""
    name = "polite"
    def check_input(self, text):
        return "Please be polite." if "damn" in text else None

class Silent:
    name = "silent"
    def check_output(self, text):
        return "Nothing is said of secrets." if "secret" in text else None

polite = Polite()
both = (polite, Silent())
number = 5

class Nested:
    toolkit = toolkit

def needs(argument):
    return toolkit

def broken():
    raise RuntimeError("the shop is closed")
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package in the current folder, fresh for each test."""
    name = f"shop_{abs(hash(str(tmp_path)))}"
    folder = tmp_path / "project"
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (folder / name / "parts.py").write_text(PACKAGE)
    (folder / name / "faulty.py").write_text("import this_is_missing\n")
    (folder / name / "wrong.py").write_text("def f(:\n")
    (folder / name / "raising.py").write_text("x = 1\nraise KeyError('nothing here')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def names(app: Any) -> tuple[list[str], list[str]]:
    services = services_of(app)
    return (
        [tool.name for kit in services.toolkits if isinstance(kit, Toolkit) for tool in kit.tools],
        [guardrail.name for guardrail in services.extensions().guardrails],
    )


@pytest.mark.parametrize(
    ("toolkits", "tools"),
    [
        ("{0}:toolkit", ["price"]),
        ("{0}:several", ["price", "stock"]),
        ("{0}:make", ["stock"]),
        ("{0}:Nested.toolkit", ["price"]),
        ("{0}:toolkit, {0}:make", ["price", "stock"]),
        ("{0}:toolkit webapp.agent.toolkits:clock", ["price", "current_time"]),
        ("clock, {0}:toolkit", ["current_time", "price"]),
        ("http_get", ["http_get"]),
    ],
)
def test_settings_name_toolkits_in_the_place_of_the_built_in_ones(
    make_app: MakeApp, shop: str, toolkits: str, tools: list[str]
) -> None:
    app = make_app(TOOLKITS=toolkits.format(f"{shop}.parts"))
    assert names(app) == (tools, [])


@pytest.mark.parametrize(
    ("guardrails", "found"),
    [
        ("{0}:polite", ["polite"]),
        ("{0}:Polite", ["polite"]),
        ("{0}:both", ["polite", "silent"]),
        ("{0}:Polite {0}:Silent", ["polite", "silent"]),
    ],
)
def test_settings_name_guardrails(
    make_app: MakeApp, shop: str, guardrails: str, found: list[str]
) -> None:
    app = make_app(GUARDRAILS=guardrails.format(f"{shop}.parts"))
    tools, guards = names(app)
    assert guards == found
    assert "add" in tools


def test_settings_name_those_that_come_with_switchboard(make_app: MakeApp, tmp_path: Path) -> None:
    denied = tmp_path / "deny.txt"
    denied.write_text("# what we do not talk about\n\n\\bACME-\\d+\n")
    app = make_app(
        GUARDRAILS=f"""length(input=40), patterns('(secret|geheim)', file="{denied}", on=input)
            personal_data(email phone), prompt-injection,
            patterns('x{{3}}y', name=more, mask=yes)"""
    )
    _, guards = names(app)
    assert guards == ["length", "patterns", "personal-data", "prompt-injection", "more"]


@pytest.mark.parametrize(
    ("guardrails", "sentence"),
    [
        ("nothing", r"there is no guardrail 'nothing'; there are length, patterns, .*import paths"),
        ("length", "needs input=, output= or both"),
        ("length(4000)", "need their names"),
        ("length(input=many)", "input of length must be a whole number"),
        ("length(inputs=5)", "length has no parameter inputs; it has input, output, name"),
        ("patterns('(')", r"RE2 cannot read the regular expression '\('"),
        ("patterns(file=/nowhere/at/all)", "file of patterns names a file that cannot be read"),
        ("patterns(a, mask=perhaps)", "mask of patterns must be true or false"),
        ("personal-data(names)", "kinds of the guardrail personal-data must be one or more of"),
        ("personal-data(regions=ZZ)", "'ZZ' is no region"),
        ("patterns(a), patterns(b)", "Two guardrails have the name 'patterns'"),
        ("shop.parts:polite(3)", "shop.parts:polite takes no parameters"),
    ],
)
def test_guardrails_that_cannot_be_made_refuse_the_start(
    tmp_path: Path, guardrails: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as fault:
        create_app(settings_for(tmp_path, GUARDRAILS=guardrails))
    assert "\n" not in fault.value.message


@pytest.mark.parametrize("guardrails", ["length(", "length)", "length(input=5", "a-b:c", "1st"])
def test_what_is_no_list_of_guardrails_is_refused_where_settings_are_read(
    tmp_path: Path, guardrails: str
) -> None:
    with pytest.raises(ConfigurationError, match="SWITCHBOARD_GUARDRAILS must be a list of names"):
        settings_for(tmp_path, GUARDRAILS=guardrails)


def test_an_installed_package_may_bring_guardrails(
    make_app: MakeApp, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    info = here / f"{shop}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {shop}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[switchboard.guardrails]\nmanners = {shop}.parts:both\n"
    )
    monkeypatch.syspath_prepend(str(here))
    _, guards = names(make_app(GUARDRAILS="manners, length(input=9)"))
    assert guards == ["polite", "silent", "length"]


def test_a_refusal_is_told_counted_and_not_stored(make_app: MakeApp) -> None:
    model = FakeModel.of("hello", "it is geheim", "my mail is a@b.de", "it is geheim")
    app = make_app(
        model=model,
        GUARDRAILS="patterns(geheim, name=no-secrets, on=output), length(input=20), personal-data",
    )
    client: Any = app.test_client()

    def say(message: str, key: str = "", **more: Any) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        body = {"user_id": "alice", "message": message, **more}
        return client.post("/chat", json=body, headers=headers)

    long = say("x" * 21)
    assert (long.status_code, long.json["code"], long.json["guardrail"]) == (
        400,
        "guardrail_refused",
        "length",
    )
    assert client.get("/api/tenants/alice").status_code == 404
    assert say("I am a@b.de").json["reply"] == "hello"
    refused = say("tell me", key="once")
    assert (refused.status_code, refused.json["guardrail"]) == (400, "no-secrets")
    assert say("tell me", key="once").json["reply"] == "my mail is [EMAIL]"
    with say("again", stream=True) as answer:
        streamed = answer.text
    assert "event: error" in streamed
    assert '"guardrail": "no-secrets"' in streamed
    assert "geheim" not in streamed
    told = client.get("/api/tenants/alice/messages").json["messages"]
    assert [message["content"] for message in told] == [
        *("I am [EMAIL]", "hello"),
        *("tell me", "my mail is [EMAIL]"),
    ]
    assert model.seen[0][-1].content == "I am [EMAIL]"

    def counted(name: str) -> str:
        metric = r"switchboard_guardrail_refusals_total"
        page = client.get("/metrics").text
        found = re.search(rf'{metric}{{guardrail="{name}",host=".*"}} (\d)', page)
        return found[1] if found else ""

    until(lambda: counted("no-secrets") == "2")  # a stream is counted a moment after its end
    assert counted("length") == "1"
    assert 'switchboard_turns_total{code="guardrail_refused"} 3.0' in client.get("/metrics").text
    assert client.get("/api/tenants/alice").json["error_count"] == 0


def test_a_guardrail_that_fails_is_a_failure_of_the_server(make_app: MakeApp, shop: str) -> None:
    package = Path.cwd() / shop
    (package / "failing.py").write_text(
        "from webapp.agent import input_guardrail\n"
        "@input_guardrail\n"
        "def broken(text):\n"
        "    raise ValueError(text)\n"
    )
    client: Any = make_app(GUARDRAILS=f"{shop}.failing:broken").test_client()
    failed = client.post("/chat", json={"user_id": "alice", "message": "my words"})
    assert (failed.status_code, failed.json["code"], failed.json["guardrail"]) == (
        500,
        "guardrail_failed",
        "broken",
    )
    assert "words" not in failed.text


def test_the_served_agent_calls_them_and_is_refused_by_them(make_app: MakeApp, shop: str) -> None:
    model = FakeModel.of(calls(("price", {"product": "tea"})), "Tea costs 5 euros.", "a secret")
    app = make_app(model=model, TOOLKITS=f"{shop}.parts:toolkit", GUARDRAILS=f"{shop}.parts:both")
    client = app.test_client()

    def say(message: str) -> Any:
        return client.post("/chat", json={"user_id": "alice", "message": message})

    assert say("What is tea?").json["reply"] == "Tea costs 5 euros."
    assert model.seen[1][-1].content == "tea costs 5 euros"
    for message, sentence in (
        ("What is damn tea?", "Please be polite."),
        ("Tell me.", "Nothing is said of secrets."),
    ):
        refused = say(message)
        assert (refused.status_code, refused.json["code"]) == (400, "guardrail_refused")
        assert refused.json["error"] == sentence
    assert services_of(app).directory.get("alice").message_count == 4


def test_create_app_takes_them_in_the_place_of_those_in_the_settings(
    tmp_path: Path, shop: str
) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"rain in {city}"

    class Short:
        name = "short"

        def check_input(self, text: str) -> str | None:
            return "Shorter, please." if len(text) > 5 else None

    model = FakeModel.of(calls(("weather", {"city": "Oslo"})), "It rains.")
    app = create_app(
        settings_for(tmp_path, TOOLKITS=f"{shop}.parts:toolkit", GUARDRAILS=f"{shop}.parts:both"),
        model=model,
        toolkits=(kit for kit in [Toolkit("weather", [weather])]),
        guardrails=[Short()],
    )
    services_of(app).upgrade_database()
    assert names(app) == (["weather"], ["short"])
    client = app.test_client()
    assert b"It rains." in client.post("/chat", json={"user_id": "a", "message": "rain?"}).data
    assert client.post("/chat", json={"user_id": "a", "message": "sunshine?"}).status_code == 400
    services_of(app).database.close()
    app = create_app(settings_for(tmp_path, TOOLKITS=f"{shop}.parts:toolkit"), toolkits=[])
    assert names(app) == ([], [])


@pytest.mark.parametrize(
    ("setting", "path", "sentence"),
    [
        ("TOOLKITS", "nowhere.tools:toolkit", "there is no module 'nowhere'"),
        ("TOOLKITS", "{shop}.nowhere:toolkit", "there is no module '{shop}.nowhere'"),
        ("TOOLKITS", "tools", "no toolkit named 'tools'; there are calculator, clock"),
        ("TOOLKITS", "{shop}.parts:nothing", "{shop}.parts has no 'nothing'"),
        ("TOOLKITS", "{shop}.parts:number", "is of the type int and no toolkit"),
        ("TOOLKITS", "{shop}.parts:polite", "is of the type Polite and no toolkit"),
        ("TOOLKITS", "{shop}.parts:both", "is of the type Polite and no toolkit"),
        ("TOOLKITS", "{shop}.parts:price", "calling {shop}.parts:price failed with TypeError"),
        ("TOOLKITS", "{shop}.parts:needs", "calling {shop}.parts:needs failed with TypeError"),
        ("TOOLKITS", "{shop}.parts:broken", r"RuntimeError: the shop is closed \(parts.py, line"),
        ("TOOLKITS", "{shop}.faulty:toolkit", r"this_is_missing.*\(faulty.py, line 1\)"),
        ("TOOLKITS", "{shop}.wrong:toolkit", r"SyntaxError: .*\(wrong.py, line 1\)"),
        ("TOOLKITS", "{shop}.raising:toolkit", r"KeyError: .*\(raising.py, line 2\)"),
        ("TOOLKITS", "{shop}.parts:toolkit {shop}.parts:several", "Two tools have the name"),
        ("GUARDRAILS", "{shop}.parts:toolkit", "is of the type Toolkit and no guardrail"),
        ("GUARDRAILS", "{shop}.parts:both {shop}.parts:Polite", "Two guardrails have the name"),
        ("GUARDRAILS", "nowhere:x", "there is no module 'nowhere'"),
    ],
)
def test_what_cannot_be_used_refuses_the_start_with_one_sentence(
    tmp_path: Path, shop: str, setting: str, path: str, sentence: str
) -> None:
    loaded = settings_for(tmp_path, **{setting: path.format(shop=shop)})
    with pytest.raises(ConfigurationError, match=sentence.format(shop=shop)) as fault:
        create_app(loaded)
    assert "\n" not in fault.value.message
    if "Two " not in sentence:
        assert fault.value.message.startswith(f"SWITCHBOARD_{setting} is wrong: ")
    # A command that runs no turn need not care.
    build_services(loaded).database.close()


WRONG_PATHS = ("tools:", ":toolkit", "a/b.py:x", "a..b:c")


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        *((setting, path) for setting in ("TOOLKITS", "GUARDRAILS") for path in WRONG_PATHS),
        ("TOOLKITS", "tools.py"),
        ("GUARDRAILS", "tools.py"),
    ],
)
def test_what_is_no_import_path_is_refused_where_settings_are_read(
    tmp_path: Path, setting: str, path: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"SWITCHBOARD_{setting} .*import paths"):
        settings_for(tmp_path, **{setting: path})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"toolkits": Toolkit("own", [])}, r"toolkits must be a list: pass toolkits=\[…\]"),
        ({"toolkits": "my.tools:toolkit"}, "toolkits must be a list"),
        ({"toolkits": [print]}, "put functions into a Toolkit"),
        ({"guardrails": [Toolkit("own", [])]}, "a guardrail has a name and"),
        ({"guardrails": 5}, "guardrails must be a list"),
    ],
)
def test_create_app_says_what_it_cannot_take(
    tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        create_app(settings_for(tmp_path), **given)


def test_an_installed_package_brings_toolkits_as_entry_points(
    tmp_path: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    about = installed / "shop_of_tests-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-of-tests\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[switchboard.toolkits]\nbakery = {shop}.parts:make\nbad-shop = {shop}.parts:number\n"
    )
    monkeypatch.syspath_prepend(str(installed))
    app = create_app(settings_for(tmp_path, TOOLKITS="bakery,clock"))
    assert names(app)[0] == ["stock", "current_time"]
    services_of(app).database.close()
    with pytest.raises(ConfigurationError, match="of the type int and no toolkit"):
        create_app(settings_for(tmp_path, TOOLKITS="bad-shop"))
    with pytest.raises(ConfigurationError, match=r"there are calculator, .*bad-shop, bakery"):
        create_app(settings_for(tmp_path, TOOLKITS="bakers"))


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path, shop: str) -> Run:
    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "SWITCHBOARD_SECRET_KEY": "a-secret-of-the-tests-0123456789-abcdef",
            "SWITCHBOARD_DATABASE_URL": f"sqlite:///{tmp_path / 'it.db'}",
            **{f"SWITCHBOARD_{name}": value.format(shop=shop) for name, value in settings.items()},
        }
        return subprocess.run(
            [str(Path(sys.executable).parent / "switchboard"), *arguments],
            env=environment,
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize("arguments", [("serve",), ("dev", "--port", "1")])
def test_neither_server_starts_without_what_is_named(
    command: Run, arguments: tuple[str, ...]
) -> None:
    command("db", "upgrade")
    failed = command(*arguments, TOOLKITS="{shop}.parts:nothing", GUARDRAILS="{shop}.parts:polite")
    assert failed.returncode == 1
    assert "SWITCHBOARD_TOOLKITS is wrong" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_check_names_what_the_agent_has(command: Run) -> None:
    command("db", "upgrade")
    seen = command("check", TOOLKITS="{shop}.parts:several", GUARDRAILS="{shop}.parts:Silent")
    assert re.search(
        r"ok +tools: shop \(price\), store \(stock\); guardrail silent; workflows none\n",
        seen.stdout,
    )
    faulty = command("check", TOOLKITS="{shop}.parts:number")
    assert re.search(r"fault +tools: SWITCHBOARD_TOOLKITS is wrong", faulty.stdout)
    assert faulty.returncode == 1
