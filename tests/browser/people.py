"""A real server, a real Chromium, and what a person sees and does there; no test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Response

from tests.server.running import Server
from tests.upstream import Answer, saying, streaming
from webapp.accounts.audit import Actor
from webapp.services import Services

OWNER = "alice"
CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
# What a reader of WCAG 2.2 AA and of good practice would complain about.
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]  # those of axe's category "color"
NOTE_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`POLICY ${event.violatedDirective} ${event.blockedURI}`);
});
"""


def obedient(request: dict[str, Any]) -> Answer:
    """A model that says what it was told to be, and the last question; streamed word by word."""
    told = next((m["content"] for m in request["messages"] if m["role"] == "system"), "nothing")
    text = f"Told: {told} Asked: {request['messages'][-1]['content']}"
    if request.get("stream"):
        return streaming(*re.findall(r"\S+\s*", text), pause=0.02)
    return saying(text)


@dataclass(slots=True)
class Visitor:
    """A tab, and all that went wrong in it."""

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)
    bytes_received: int = 0

    def open(self, path: str) -> Response:
        answer = self.page.goto(self.address + path)
        assert answer is not None
        return answer

    def sign_in(self, services: Services, name: str = OWNER) -> None:
        """By a one-time link and its button."""
        token = services.sign_in.make_link(name, by=Actor.command_line())
        self.open(f"/admin/login/link?token={token}")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/admin/")

    def button(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def sees(self, text: str) -> None:
        """Waits for the text to be there and to be seen."""
        self.page.get_by_text(text).first.wait_for(state="visible", timeout=10_000)

    def axe(self, *, colours_alone: bool = False) -> list[str]:
        """What axe-core finds in the page: rule, how bad, and where.

        With `colours_alone` the rules that other colours can break, in a page that it has seen.
        """
        if not colours_alone:
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        kind, values = ("rule", COLOUR_RULES) if colours_alone else ("tag", AXE_TAGS)
        found = self.page.evaluate(
            "(only) => axe.run(document, {runOnly: only})", {"type": kind, "values": values}
        )
        return [
            f"{fault['id']} ({fault['impact']}): {node['html'][:160]} {node['failureSummary']}"
            for fault in found["violations"]
            for node in fault["nodes"][:3]
        ]


@dataclass(frozen=True, slots=True)
class Site:
    """The server and who looks at it from beside."""

    server: Server
    browser: Browser
    services: Services

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def talk(self, user_id: str, *messages: str) -> None:
        """Turns of a tenant through the API."""
        for message in messages:
            body = {"user_id": user_id, "message": message}
            answer = self.server.request("POST", "/chat", body)
            assert answer.status == 200, answer.body

    @contextmanager
    def visitor(
        self,
        *,
        scripts: bool = True,
        colours: Literal["light", "dark"] = "light",
        width: int = 1440,
        height: int = 900,
    ) -> Iterator[Visitor]:
        """Somebody's browser; at the end nothing may have gone wrong in it."""
        context = self.browser.new_context(
            java_script_enabled=scripts,
            color_scheme=colours,
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            timezone_id="Europe/Berlin",
        )
        try:
            visitor = self._watch(context)
            yield visitor
            assert visitor.faults == []
        finally:
            context.close()

    def _watch(self, context: BrowserContext) -> Visitor:
        context.set_default_timeout(15_000)
        context.add_init_script(NOTE_VIOLATIONS)
        visitor = Visitor(context.new_page(), self.address)

        def heard(kind: str, text: str) -> None:
            if kind == "error" and ("POLICY" in text or "Content Security Policy" in text):
                visitor.faults.append(text)

        visitor.page.on("console", lambda message: heard(message.type, message.text))
        visitor.page.on("pageerror", lambda error: visitor.faults.append(str(error)))
        return visitor


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium; root may not use its sandbox."""
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])


PAGES = (
    "/admin/",
    "/admin/?window=7d",
    "/admin/tenants",
    "/admin/tenants?search=nobody-at-all",
    "/admin/tenants/{tenant}",
    "/admin/tenants/{tenant}/clear",
    "/admin/tenants/{tenant}/forget",
    "/admin/tenants/{tenant}/sessions",
    "/admin/tenants/{tenant}/sessions/default",
    "/admin/tenants/{tenant}/sessions/default/forget",
    "/admin/tenants/{tenant}/workflow-runs",
    "/admin/clear-all",
    "/admin/metrics",
    "/admin/playground?user_id={tenant}",
    "/admin/agent",
    "/admin/tools",
    "/admin/workflows",
    "/admin/keys",
    "/admin/admins",
    "/admin/audit",
    "/admin/settings",
    "/admin/account",
    "/admin/tenants/nobody-at-all",
)
