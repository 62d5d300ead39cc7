"""One server and one Chromium for all browser tests; without Chromium they are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.processes import free_port
from tests.browser.people import CHROMIUM, OWNER, Site, launch, obedient
from tests.server.running import Server
from tests.upstream import upstream
from webapp.accounts.audit import Actor


# Not for the whole session: Playwright keeps an event loop running in this thread, and other
# modules' tests run their own.
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not CHROMIUM.exists():
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"{CHROMIUM} is missing and REQUIRE_SERVERS=1 is set")
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with upstream(obedient) as model, sync_playwright() as playwright:
        folder = tmp_path_factory.mktemp("console")
        server = Server(folder, free_port(), model.base_url).start()
        browser = launch(playwright)
        services = server.services()
        # The account of `dev` is left to the test of the link that `dev` prints.
        services.admins.create(OWNER, by=Actor.command_line())
        try:
            yield Site(server, browser, services)
        finally:
            browser.close()
            services.database.close()
            server.end()
