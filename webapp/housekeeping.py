"""The chores that run by themselves: forgetting the inactive, dropping what is past its time."""

from __future__ import annotations

import logging
import math
import threading

from webapp.chat import approvals, idempotency
from webapp.clock_watch import ClockWatch
from webapp.errors import SwitchboardError
from webapp.memory.clearing.parts import RUNS
from webapp.memory.limiting.limits import Dropped
from webapp.memory.workflow_runs import store as runs
from webapp.services import Services
from webapp.storage import Connection, meta
from webapp.storage.slices import in_slices
from webapp.tenant_data.forgetting import merge_noted_search
from webapp.usage.retention import prune
from webapp.usage.rollup.worker import roll_up
from webapp.usage.tool_calls.figures import tidy_up as tidy_up_tool_calls

logger = logging.getLogger("switchboard.housekeeping")

LAST_RUN = "housekeeping_last_run"
FIRST_RUN_SECONDS = 5.0
LOG_SECONDS = 30.0


def start_housekeeping(services: Services) -> threading.Event:
    """Starts the thread that does the chores every `CLEANUP_INTERVAL`, until the event is set: it
    is the one that says that the services are closed."""
    stop = services.closed
    watch = ClockWatch(services.clock)

    def loop() -> None:
        interval = services.settings.cleanup_interval
        left = min(FIRST_RUN_SECONDS, interval)
        while not stop.wait(min(left, LOG_SECONDS)):
            left -= LOG_SECONDS
            if left <= 0:
                left = interval
                run_once(services, watch)
            _tidy_up(services)

    threading.Thread(target=loop, name="housekeeping", daemon=True).start()
    return stop


def run_once(services: Services, watch: ClockWatch) -> None:
    """All chores, unless another process has done them within this interval.

    Nothing is deleted for its age while the clock is in doubt.
    """
    settings = services.settings
    try:
        with services.database.read() as connection:
            last_seen = last_run(connection)
        doubt = watch.doubt(
            last_seen,
            usual_gap=2 * settings.cleanup_interval,
            settle=min(
                settings.inactive_after or settings.request_retention,
                settings.messages_max_age or settings.request_retention,
            ),
        )
        if not _is_ours(services):
            return
        merge_noted_search(services.database)
        if doubt is not None:
            # A database that nobody has looked at yet is new: that is no news.
            level = logging.DEBUG if last_seen is None else logging.WARNING
            logger.log(
                level,
                "clock_in_doubt",
                extra={"jump_seconds": doubt.jump_seconds, "wait_seconds": doubt.wait_seconds},
            )
            return
        forget_and_prune(services)
    except SwitchboardError as error:
        logger.warning("housekeeping_failed", extra={"code": error.code})


def last_run(connection: Connection) -> int | None:
    """The wall-clock time of the last chores of any process; None before the first."""
    said = meta.value(connection, LAST_RUN)
    return None if said is None else int(said)


def forget_and_prune(services: Services) -> None:
    """Drops what its age, or a limit, has overtaken."""
    settings = services.settings
    if settings.inactive_after is not None:
        done = services.acts.cleanup(settings.inactive_after)
        fields = {"tenants": done.tenants, "left": done.left}
        logger.info("inactive_tenants_forgotten", extra=fields)
    now = services.clock.now_ms()
    kept_ms = idempotency.KEPT_MS
    if settings.messages_max_age is not None:
        oldest = now - round(settings.messages_max_age * 1000)
        _tell("old_messages_dropped", services.session_cleanup.drop_old(oldest))
        # A kept answer is a message as well.
        kept_ms = min(kept_ms, now - oldest)
    _tell("excess_sessions_dropped", services.session_cleanup.drop_excess())
    prune(services.database, now, settings.request_retention)
    idempotency.prune(services.database, now, kept_ms)
    approvals.prune(services.database, now)
    # Runs hold what users said as well.
    run_age = min(settings.workflow_retention, settings.messages_max_age or math.inf)
    before = now - round(run_age * 1000)
    for _ in in_slices(
        services.database, lambda connection: runs.drop_older(connection, before, RUNS), bool
    ):
        pass
    tidy_up_tool_calls(services.database, now)


def _tell(event: str, gone: Dropped) -> None:
    if gone.sessions:
        logger.info(event, extra={"sessions": gone.sessions, "messages": gone.messages})


def _tidy_up(services: Services) -> None:
    """Writes pending counts, adds requests to the sums, and shortens a log that has grown."""
    try:
        services.chat.settle()
        roll_up(services.database)
        services.database.shrink_log()
        services.left_behind.look()
    except SwitchboardError as error:
        logger.warning("housekeeping_failed", extra={"code": error.code})


def _is_ours(services: Services) -> bool:
    """Takes the interval for this process; another that comes within it finds it taken."""
    now = services.clock.now_ms()
    interval_ms = round(services.settings.cleanup_interval * 1000)

    # A clock that was set back must not stop the chores for ever: what lies ahead counts for none.
    return services.database.write(
        lambda connection: meta.put_number_outside(
            connection, LAST_RUN, now, now - interval_ms * 9 // 10 + 1, now
        )
    )
