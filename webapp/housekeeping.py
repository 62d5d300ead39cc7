"""The chores that run by themselves: forgetting the inactive, dropping what is past its time."""

from __future__ import annotations

import logging
import threading

from webapp.chat import idempotency
from webapp.errors import SwitchboardError
from webapp.services import Services
from webapp.storage import Connection
from webapp.storage.slices import ROWS, in_slices
from webapp.tenants.wiping import merge_noted_search
from webapp.usage.retention import prune

logger = logging.getLogger("switchboard.housekeeping")

LAST_RUN = "housekeeping_last_run"
FIRST_RUN_SECONDS = 5.0


def start_housekeeping(services: Services) -> threading.Event:
    """Starts the thread that does the chores every `CLEANUP_INTERVAL`; set the event to end it."""
    stop = threading.Event()

    def loop() -> None:
        wait = min(FIRST_RUN_SECONDS, services.settings.cleanup_interval)
        while not stop.wait(wait):
            wait = services.settings.cleanup_interval
            run_once(services)

    threading.Thread(target=loop, name="housekeeping", daemon=True).start()
    return stop


def run_once(services: Services) -> None:
    """All chores, unless another process has done them within this interval."""
    try:
        if not _is_ours(services):
            return
        settings = services.settings
        if settings.inactive_after is not None:
            forgotten = services.directory.cleanup(settings.inactive_after)
            logger.info("inactive_tenants_forgotten", extra={"tenants": forgotten.tenants})
        now = services.clock.now_ms()
        prune(services.database, now, settings.request_retention)
        for _ in in_slices(
            services.database, lambda connection: idempotency.prune(connection, now, ROWS), bool
        ):
            pass
        merge_noted_search(services.database)
    except SwitchboardError as error:
        logger.warning("housekeeping_failed", extra={"code": error.code})


def _is_ours(services: Services) -> bool:
    """Takes the interval for this process; another that comes within it finds it taken."""
    now = services.clock.now_ms()
    interval_ms = round(services.settings.cleanup_interval * 1000)

    def work(connection: Connection) -> bool:
        taken = connection.execute(
            "INSERT INTO meta (name, value) VALUES (:name, :now) ON CONFLICT (name)"
            " DO UPDATE SET value = excluded.value"
            " WHERE CAST(meta.value AS INTEGER) <= :before"
            # A clock that was set back must not stop the chores for ever.
            " OR CAST(meta.value AS INTEGER) > :now_number",
            {
                "name": LAST_RUN,
                "now": str(now),
                "now_number": now,
                "before": now - interval_ms * 9 // 10,
            },
        )
        return taken.rowcount > 0

    return services.database.write(work)
