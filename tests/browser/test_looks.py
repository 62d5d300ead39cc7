"""What can be measured of every page's looks: accessibility, overflow, weight, foreign hosts."""

from __future__ import annotations

import pytest

from tests.browser.people import PAGES, Site, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TENANT = "looked-at-with-a-rather-long-id-that-must-be-cut-somewhere-" + "x" * 150
FIRST_VISIT_BYTES = 120_000


@pytest.fixture(scope="module")
def tenant(site: Site) -> str:
    site.talk(TENANT, "Hello", "What do you know of accessibility?")
    site.talk("مرحبا بالعالم", "سلام")
    return TENANT


@pytest.mark.parametrize("width", [1440, 380])
def test_axe_finds_nothing_on_any_page(site: Site, tenant: str, width: int) -> None:
    """In the dark only what depends on colours is looked at again."""

    def faults(visitor: Visitor, path: str) -> list[str]:
        visitor.open(path.format(tenant=tenant))
        light = visitor.axe()
        visitor.page.emulate_media(color_scheme="dark")
        dark = visitor.axe(colours_alone=True)
        visitor.page.emulate_media(color_scheme="light")
        return [
            *(f"{path}: {fault}" for fault in light),
            *(f"{path} in the dark: {fault}" for fault in dark),
        ]

    with site.visitor(width=width) as alice:
        found = [
            *faults(alice, "/admin/login"),
            *faults(alice, "/admin/login/link?token=x"),
        ]
        alice.sign_in(site.services)
        for path in (*PAGES, "/docs"):
            found += faults(alice, path)
    assert found == []


@pytest.mark.parametrize("width", [320, 380, 768, 1024, 1440, 2560])
def test_no_page_is_wider_than_the_window(site: Site, tenant: str, width: int) -> None:
    with site.visitor(width=width) as alice:
        alice.sign_in(site.services)
        for path in (*PAGES, "/docs"):
            alice.open(path.format(tenant=tenant))
            wide = alice.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} wide in {width}"


@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_no_id_of_a_request_is_cut_off(site: Site, tenant: str, width: int) -> None:
    """At the widths of desks no table of a tenant's page hides a part of itself."""
    hidden = "box => box.scrollWidth - box.clientWidth"
    with site.visitor(width=width) as alice:
        alice.sign_in(site.services)
        alice.open(f"/admin/tenants/{tenant}")
        # A failure says its kind in the row, which leaves less room for the id.
        status = alice.page.locator("td[data-label=Status]").first
        status.evaluate("cell => cell.append(' message too long')")
        boxes = alice.page.locator(".scroll:has(.request-id)")
        assert boxes.count() > 0
        assert [box.evaluate(hidden) for box in boxes.all()] == [0] * boxes.count()


def test_a_first_visit_weighs_little_and_asks_nobody_else(site: Site, tenant: str) -> None:
    with site.visitor() as alice:
        weights: list[int] = []
        hosts: set[str] = set()

        def weigh(request: object) -> None:
            sizes = request.sizes()  # type: ignore[attr-defined]
            weights.append(sizes["responseBodySize"] + sizes["responseHeadersSize"])
            hosts.add(request.url.split("/")[2])  # type: ignore[attr-defined]

        alice.page.on("requestfinished", weigh)
        alice.sign_in(site.services)
        alice.page.wait_for_load_state("networkidle")
        assert hosts == {alice.address.split("/")[2]}
        assert sum(weights) <= FIRST_VISIT_BYTES


def test_what_looks_for_faults_finds_them(site: Site) -> None:
    with site.visitor() as alice:
        alice.open("/admin/login")
        alice.page.evaluate("document.querySelector('label').remove()")
        assert any(fault.startswith("label") for fault in alice.axe())
        alice.page.emulate_media(color_scheme="dark")
        assert alice.axe(colours_alone=True) == []
        alice.page.evaluate("document.querySelector('h1').style.color = '#222'")
        assert any(fault.startswith("color-contrast") for fault in alice.axe(colours_alone=True))
        alice.page.evaluate("document.body.setAttribute('style', 'color: red')")
        alice.page.wait_for_function("() => true")
        assert any("style-src" in fault for fault in alice.faults)
        alice.faults.clear()
