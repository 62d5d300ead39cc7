"""Asks the parts of a server how they are: seldom, one question at a time, and never for long.

Which parts there are, and how each is asked, is said by those who make them; see
web/api/health.py.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

logger = logging.getLogger("switchboard.readiness")

PATIENCE_SECONDS = 2.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part is: `ok`, or a code and a sentence."""

    state: str = OK
    sentence: str = ""

    @property
    def is_good(self) -> bool:
        return self.state == OK


Findings = Mapping[str, Finding]


class Probe:
    """One question about one part or more; it runs in a thread of its own, for all who ask."""

    def __init__(
        self, ask: Callable[[], Findings], *, silent: Findings, needed: bool, kept: float = 0.0
    ) -> None:
        """`silent` is what is found when no answer comes in time; `needed` says that no turn can
        run without these parts. For `kept` seconds a good answer is not asked for again."""
        self._ask = ask
        self._kept = kept
        self._silent = silent
        self.needed = needed
        self._lock = threading.Lock()
        self._last: _Asked | None = None

    def begin(self) -> _Asked:
        """The question that is open, or was answered just now, or a new one."""
        with self._lock:
            last = self._last
            if last is None or last.is_old(self._kept):
                last = self._last = _Asked(self._ask, self._silent)
                threading.Thread(target=last.run, name="readiness", daemon=True).start()
            return last


class _Asked:
    """A question that was asked, whose answer is shared."""

    def __init__(self, ask: Callable[[], Findings], silent: Findings) -> None:
        self._ask = ask
        self._found = silent
        self._began_at = time.monotonic()
        self._answered_at: float | None = None
        self._answered = threading.Event()

    def is_old(self, kept: float) -> bool:
        """An open question is not: however long it hangs, it is the only one."""
        if self._answered_at is None:
            return False
        return not _all_good(self._found) or time.monotonic() - self._answered_at >= kept

    def run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:  # noqa: BLE001  # a defect of a part is an answer not given
            trace = "".join(traceback.format_tb(error.__traceback__))
            fields = {"exception": type(error).__name__, "trace": trace}
            logger.error("readiness_failed", extra=fields)
        finally:
            self._answered_at = time.monotonic()
            self._answered.set()

    def findings(self) -> Findings:
        """What was found, or that nothing was heard `PATIENCE_SECONDS` after the question."""
        self._answered.wait(max(0.0, self._began_at + PATIENCE_SECONDS - time.monotonic()))
        return self._found


@dataclass(frozen=True, slots=True)
class Report:
    """How all parts are, by name; `ready` says that turns can run."""

    findings: Findings
    ready: bool

    @property
    def reasons(self) -> Mapping[str, str]:
        """A sentence for each part that is not well; what stops turns comes first."""
        return {name: found.sentence for name, found in self.findings.items() if not found.is_good}


class Readiness:
    """All parts of one process."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = sorted(probes, key=lambda probe: not probe.needed)

    def report(self, beside: Findings | None = None) -> Report:
        """Asks all of them at once; it takes no longer than the slowest may. What stands `beside`
        is known without asking, and no reason to be without this server."""
        asked = [(probe, probe.begin()) for probe in self._probes]
        findings: dict[str, Finding] = {}
        ready = True
        for probe, question in asked:
            found = question.findings()
            findings |= found
            ready = ready and (not probe.needed or _all_good(found))
        return Report({**findings, **(beside or {})}, ready)


def _all_good(findings: Findings) -> bool:
    return all(found.is_good for found in findings.values())
