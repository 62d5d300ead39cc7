"""`switchboard check`: tests the settings and all they point at; says what to do about a fault.

What it looks at in the database is in check_database.py, the limiter and model in check_others.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import click

from webapp.cli.check_database import check_audit_log, check_data, check_database
from webapp.cli.check_others import check_limiter, check_model, check_tools, mcp_checks
from webapp.cli.output import examples
from webapp.cli.serve import counting_alone, for_production, weak_secret
from webapp.cli.text import visible
from webapp.environment import environment
from webapp.errors import SwitchboardError
from webapp.observability.otel import fault as traces_fault
from webapp.settings import LoadedSettings, load_settings

# Longer than each part waits by itself: only what hangs in the system itself meets it.
PATIENCE_SECONDS = 30.0
Test = Callable[[], str | None]


@click.command(name="check", epilog=examples("switchboard check", "switchboard check --data"))
@click.option("--data", is_flag=True, help="Examine all data, however long it takes.")
def command(data: bool) -> None:
    """Tests the settings, the database, the audit log, the limiter's storage and the model.

    Each line begins with ok, warn or fault; with a fault the status is 1. With --data every
    counter and sum is compared with its rows as well.
    """
    loaded = _settings()
    settings = loaded.values
    url = settings.database_url
    results = [
        _settings_line(loaded),
        _run("database", lambda: check_database(url, thorough=data), patient=data),
        _run("audit log", lambda: check_audit_log(loaded), patient=True),
        *([_run("data", lambda: _with_progress(loaded), patient=True)] if data else []),
        _run("limiter", lambda: check_limiter(settings)),
        _run("tools", lambda: check_tools(loaded)),
        *[_run(f"mcp {name}", test) for name, test in mcp_checks(loaded)],
    ]
    if settings.openai_api_key or settings.openai_base_url:
        results.append(_run("model", lambda: check_model(loaded)))
    else:
        _line("warn", "model", "none is set; `switchboard dev` runs its own small one")
    for sentence in for_production(settings, 1):
        _line("warn", "serve", f"it would not start: {sentence}")
    if sentence := counting_alone(settings):
        _line("warn", "limiter", sentence)
    if sentence := traces_fault(environment()):
        _line("warn", "traces", sentence)
    if not all(results):
        sys.exit(1)


def _settings() -> LoadedSettings:
    """The settings; without them nothing else can be tested."""
    try:
        return load_settings()
    except SwitchboardError as error:
        for sentence in error.message.splitlines():
            _line("fault", "settings", sentence)
        sys.exit(1)


def _settings_line(loaded: LoadedSettings) -> bool:
    weak = weak_secret(loaded.values)
    if weak:
        _line("fault", "settings", weak)
        return False
    _line("ok", "settings", ", ".join(_places(loaded)))
    return True


def _places(loaded: LoadedSettings) -> Iterator[str]:
    sources = list(loaded.sources.values())
    if inside := sum(source in ("environment", "secret file") for source in sources):
        yield f"{inside} from the environment or files of their own"
    found = "" if loaded.file.is_file() else ", which is not there"
    yield f"{sources.count('file')} from {loaded.file}{found}"


def _with_progress(loaded: LoadedSettings) -> str:
    """A large database takes minutes: a person who waits sees how far it is."""
    with click.progressbar(
        length=1, label="Comparing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        return check_data(loaded, progress)


def _run(name: str, test: Test, *, patient: bool = False) -> bool:
    """Runs one test for as long as it may take, and tells what came of it."""
    outcome: list[str | None] = []
    fault: list[Exception] = []

    def work() -> None:
        try:
            outcome.append(test())
        except Exception as error:  # noqa: BLE001  # raised again where it can be told
            fault.append(error)

    # A daemon, so that what hangs does not keep the command from ending.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(None if patient else PATIENCE_SECONDS)
    if fault and not isinstance(fault[0], SwitchboardError):
        raise fault[0]
    if fault:
        _line("fault", name, str(fault[0]))
    elif not outcome:
        _line("fault", name, f"there was no answer within {PATIENCE_SECONDS:.0f} s; it hangs.")
    else:
        _line("ok", name, outcome[0] or "")
    return bool(outcome)


def _line(state: str, name: str, detail: str) -> None:
    click.echo(f"{state:<6} {name}{f': {visible(detail)}' if detail else ''}")
