"""Each task of the console as a person does it in Chromium, with JavaScript and without."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.people import Site
from webapp.accounts.audit import Actor

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WITH_AND_WITHOUT_SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["js", "nojs"])


def test_the_link_that_dev_prints_signs_in_once(site: Site) -> None:
    found = re.search(r"/admin/login/link\?token=\S+", site.server.printed)
    assert found
    with site.visitor() as alice, site.visitor() as mallory:
        for visitor in (alice, mallory):
            visitor.open(found[0])
        alice.button("Sign in")
        alice.sees("Most active")
        mallory.button("Sign in")
        mallory.sees("used already or is too old")


@WITH_AND_WITHOUT_SCRIPTS
def test_a_person_finds_a_tenant_reads_and_clears(site: Site, scripts: bool) -> None:
    name = f"user-{scripts}-ä<b>"
    site.talk(name, "My name is <i>Alice</i>", "What is my name?")
    with site.visitor(scripts=scripts) as alice:
        alice.sign_in(site.services)
        page = alice.page
        page.get_by_role("navigation", name="Console").get_by_role("link", name="Tenants").click()
        page.get_by_label("Search").fill(name[:10])
        page.get_by_label("Search").press("Enter")
        page.get_by_role("table").get_by_role("link", name=name).click()
        alice.sees("Asked: My name is <i>Alice</i>")
        page.get_by_role("link", name="Clear…").click()
        alice.sees("Messages that go")
        alice.button("Clear 4 messages")
        alice.sees("Cleared 4 messages.")
        alice.sees("Nothing stored")
    row = site.services.directory.get(name)
    assert row.message_count == 0


@WITH_AND_WITHOUT_SCRIPTS
def test_an_owner_clears_all_with_typed_words(site: Site, scripts: bool) -> None:
    site.talk("clear-all-1", "Hello", "again")
    site.talk("clear-all-2", "Hello")
    with site.visitor(scripts=scripts) as alice:
        alice.sign_in(site.services)
        alice.open("/admin/tenants")
        alice.page.get_by_role("link", name="Clear all").click()
        alice.page.get_by_label("Type").fill("clear everything")
        alice.page.get_by_role("button", name=re.compile("^Clear .* tenants?$")).click()
        alice.sees("Nothing was cleared")
        alice.page.get_by_label("Type").fill("clear all tenants")
        alice.page.get_by_role("button", name=re.compile("^Clear .* tenants?$")).click()
        alice.sees("Cleared")
    assert site.services.directory.get("clear-all-1").message_count == 0
    assert site.services.directory.get("clear-all-2").message_count == 0


@WITH_AND_WITHOUT_SCRIPTS
def test_new_instructions_are_obeyed_by_the_next_turn(site: Site, scripts: bool) -> None:
    words = f"Be a pirate {scripts}."
    with site.visitor(scripts=scripts) as alice:
        alice.sign_in(site.services)
        alice.open("/admin/agent")
        alice.page.get_by_label("Instructions").fill(words)
        alice.button("Save for the next turn")
        alice.sees("It holds from the next turn")
        alice.open("/admin/playground?user_id=obedience")
        alice.page.get_by_label("Message", exact=True).fill("Who are you?")
        alice.button("Send")
        alice.sees(f"Told: {words} Asked: Who are you?")
        alice.open("/admin/audit?action=playground_turn&tenant=obedience")
        alice.sees("admin:alice")


def test_a_streamed_turn_can_be_stopped_and_stores_nothing(site: Site) -> None:
    with site.visitor() as alice:
        alice.sign_in(site.services)
        alice.open("/admin/playground?user_id=stopped")
        alice.page.get_by_label("Message", exact=True).fill("Count " + "on " * 400)
        alice.button("Send")
        alice.sees("Told:")
        alice.button("Stop")
        alice.sees("Nothing of this turn was stored")
        expect(alice.page.get_by_role("button", name="Send")).to_be_enabled()
    assert site.services.directory.get("stopped").message_count == 0


def test_earlier_messages_come_while_one_scrolls(site: Site) -> None:
    site.talk("scroller", *[f"Question number {n}." for n in range(40)])
    with site.visitor() as alice:
        alice.sign_in(site.services)
        alice.open("/admin/tenants/scroller")
        alice.sees("Asked: Question number 39.")
        thread = alice.page.get_by_role("region", name="Messages, the newest last")
        for _ in range(8):
            thread.evaluate("box => { box.scrollTop = -box.scrollHeight; }")
            alice.page.wait_for_timeout(150)
        alice.sees("Asked: Question number 0.")


def test_earlier_messages_are_pages_without_scripts(site: Site) -> None:
    site.talk("paged", *[f"Question number {n}." for n in range(40)])
    with site.visitor(scripts=False) as alice:
        alice.sign_in(site.services)
        alice.open("/admin/tenants/paged")
        for _ in range(2):
            alice.page.get_by_role("link", name="Earlier messages").click()
        alice.sees("Asked: Question number 0.")
        alice.page.get_by_role("link", name="Later messages").click()
        alice.sees("Asked: Question number 15.")


@WITH_AND_WITHOUT_SCRIPTS
def test_a_selection_is_blocked(site: Site, scripts: bool) -> None:
    names = [f"chosen-{scripts}-{number}" for number in range(3)]
    for name in names:
        site.talk(name, "Hello")
    with site.visitor(scripts=scripts) as alice:
        alice.sign_in(site.services)
        alice.open(f"/admin/tenants?search=chosen-{scripts}")
        for name in names[:2]:
            alice.page.get_by_label(f"Select {name}").check()
        alice.button("Block…")
        alice.button("Block 2 tenants")
        alice.sees("Blocked 2 tenants.")
    assert [site.services.directory.get(name).blocked for name in names] == [True, True, False]


def test_the_overview_refreshes_without_losing_ones_place(site: Site) -> None:
    site.talk("fresh", "Hello")
    with site.visitor() as alice:
        alice.sign_in(site.services)
        page = alice.page
        page.get_by_text("Show as a table").first.click()
        before = page.get_by_label("Totals").inner_text()
        site.talk("fresh", "Hello", "again")
        page.wait_for_timeout(3500)  # the figures are kept for three seconds
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on refreshing").click()
        page.wait_for_function(
            "before => document.querySelector('[aria-label=Totals]').innerText !== before",
            arg=before,
        )
        assert page.locator("details[open]").count() == 1


def test_the_keyboard_goes_all_the_way(site: Site) -> None:
    site.talk("keyboard", "Hello")
    with site.visitor() as alice:
        alice.sign_in(site.services)
        alice.open("/admin/tenants")
        page = alice.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.type") == "search"
        page.keyboard.type("keyboard")
        page.keyboard.press("Enter")
        page.wait_for_url("**search=keyboard**")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "keyboard":
                break
        assert page.evaluate(outline) != "none"
        page.keyboard.press("Enter")
        alice.sees("Conversation")


def test_a_form_outlives_its_session_in_a_real_browser(site: Site) -> None:
    password = "correct horse battery"
    site.services.admins.create(
        "outlived", by=Actor.command_line(), role="owner", password=password
    )
    with site.visitor() as alice:
        alice.sign_in(site.services, "outlived")
        alice.open("/admin/agent")
        alice.page.get_by_label("Instructions").fill("Typed with love.")
        admin = site.services.admins.get("outlived")
        site.services.sign_in.sign_out_everywhere(admin, by=Actor.command_line())
        alice.button("Save for the next turn")
        alice.sees("You were signed out")
        alice.page.get_by_label("Name").fill("outlived")
        alice.page.get_by_label("Password").fill(password)
        alice.button("Sign in")
        alice.button("Send again")
        alice.sees("It holds from the next turn")
        assert alice.page.get_by_label("Instructions").input_value() == "Typed with love."
