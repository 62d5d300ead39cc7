"""Finds runs that no worker owns any more, and brings them to their end, a few at a time."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from webapp.errors import SwitchboardError
from webapp.memory.workflow_runs import store as runs
from webapp.memory.workflow_runs.store import Interrupted
from webapp.served_workflows.service import WorkflowService
from webapp.storage import Database
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import UserIds

logger = logging.getLogger("switchboard.workflows")

TOGETHER = 8
LOOKED_AT = 100


class LeftBehind:
    """One for each process; all processes may look at once, for a run has one owner.

    Runs that are under way look the same in the table. Whose place is taken is passed over: the
    turn that has it may be the run itself.
    """

    def __init__(self, database: Database, user_ids: UserIds, service: WorkflowService) -> None:
        self._database = database
        self._user_ids = user_ids
        self._service = service
        self._lock = threading.Lock()
        self._at_work: set[int] = set()
        self._after = 0

    @property
    def busy(self) -> bool:
        """Whether it is looking at a run, or going on with one."""
        return bool(self._at_work)

    def look(self) -> None:
        """Begins to go on with runs that are free, in threads of their own."""
        if not self._service.workflows:
            return
        with self._database.read() as connection:
            found = runs.interrupted(connection, self._after, LOOKED_AT)
        after = self._after
        for run in found:
            with self._lock:
                if len(self._at_work) >= TOGETHER:
                    break
                after = run.number
                if run.number in self._at_work or run.workflow not in self._service.workflows:
                    continue
                self._at_work.add(run.number)
            threading.Thread(
                target=self._go_on, args=(run,), name="workflow run", daemon=True
            ).start()
        else:
            after = after if len(found) == LOOKED_AT else 0
        # The next look goes on behind these, so that runs which nobody can go on with, or which
        # are under way, do not hide those behind them.
        self._after = after

    def _go_on(self, run: Interrupted) -> None:
        went_on = False
        try:
            with self._database.read() as connection:
                tenant = tenants.find_number(connection, run.tenant)
            if tenant is None:
                return
            user_id = self._user_ids.readable(tenant.user_id)
            went_on = self._service.go_on_with(run, user_id)
            if went_on:
                logger.info("workflow_went_on", extra={"run_id": run.run_id})
        except SwitchboardError as error:
            # Most often its owner lives: it is looked at again the next time.
            fields = {"run_id": run.run_id, "code": error.code}
            logger.debug("workflow_did_not_go_on", extra=fields)
        except Exception as error:  # a thread of its own: nobody else would tell
            fields = {"run_id": run.run_id, "error_type": type(error).__name__}
            logger.exception("workflow_did_not_go_on", extra=fields)
        finally:
            with self._lock:
                self._at_work.discard(run.number)
        if went_on:
            self._look_again()

    def _look_again(self) -> None:
        """Where one was left behind there may be more, which need not wait for the next chores."""
        with suppress(SwitchboardError):
            self.look()
