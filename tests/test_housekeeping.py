"""The chores that run by themselves, and a clock that jumps while they do."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import MakeApp, services_of
from tests.fakes import HandClock
from webapp.clock_watch import SETTLE_SECONDS, ClockWatch, Doubt
from webapp.housekeeping import run_once
from webapp.usage.rollup.store import is_anything_pending

HOUR, DAY = 3600.0, 86_400.0


class House:
    """An application whose chores are done by hand, with one user who has just spoken."""

    def __init__(self, make_app: MakeApp, **changes: str) -> None:
        self.clock = HandClock()
        settings = {"INACTIVE_AFTER": "24h", "CLEANUP_INTERVAL": "1h", **changes}
        self.app: Flask = make_app(clock=self.clock, **settings)
        self.services = services_of(self.app)
        self.watch = ClockWatch(self.clock)
        self.chat("alice")

    def chat(self, user_id: str, session_id: str = "default") -> None:
        body = {"user_id": user_id, "message": "hello", "session_id": session_id}
        assert self.app.test_client().post("/chat", json=body).status_code == 200

    def hours(self, number: int) -> None:
        """So much time passes, with the chores done in each hour."""
        for _ in range(number):
            self.clock.advance(HOUR)
            run_once(self.services, self.watch)

    @property
    def tenants(self) -> list[str]:
        page = self.app.test_client().get("/api/tenants?sort=user_id").json
        assert page is not None
        return [tenant["user_id"] for tenant in page["tenants"]]


def test_who_is_silent_for_so_long_is_forgotten(make_app: MakeApp) -> None:
    house = House(make_app)
    house.hours(24)
    assert house.tenants == ["alice"]
    house.hours(2)
    assert house.tenants == []


@pytest.mark.parametrize("jump", [DAY, 2 * DAY, 400 * DAY])
def test_a_clock_that_jumps_forward_and_back_costs_nobody(make_app: MakeApp, jump: float) -> None:
    house = House(make_app)
    house.hours(3)
    house.clock.jump(jump)
    house.clock.advance(2)
    run_once(house.services, house.watch)
    house.clock.advance(2)
    run_once(house.services, house.watch)
    house.clock.jump(-jump)
    house.clock.advance(1)
    run_once(house.services, house.watch)
    assert house.tenants == ["alice"]
    house.hours(10)
    assert house.tenants == ["alice"]
    house.hours(14)
    assert house.tenants == []


def test_a_server_that_starts_under_a_wrong_clock_forgets_nobody(make_app: MakeApp) -> None:
    house = House(make_app)
    house.hours(3)
    house.clock.jump(3 * DAY)
    house.watch = ClockWatch(house.clock)
    for _ in range(10):
        house.clock.advance(5)
        run_once(house.services, house.watch)
    assert house.tenants == ["alice"]


def test_a_clock_that_was_put_right_for_good_is_believed_after_an_hour(make_app: MakeApp) -> None:
    house = House(make_app)
    house.hours(3)
    house.clock.jump(3 * DAY)
    house.hours(1)
    assert house.tenants == ["alice"]
    house.hours(2)
    assert house.tenants == []


def test_old_messages_and_sessions_over_a_limit_go(make_app: MakeApp) -> None:
    before = House(make_app)
    for session in ("one", "two", "three"):
        before.clock.advance(1)
        before.chat("bob", session)
    house = House(make_app, INACTIVE_AFTER="", MESSAGES_MAX_AGE="3h", TENANT_MAX_SESSIONS="2")
    # Messages have the time of the real clock, and not of the test's.
    now = {"now": house.clock.now_ms()}
    house.services.database.write(
        lambda connection: connection.execute("UPDATE messages SET created_at = :now", now)
    )
    house.hours(2)

    def left(user_id: str) -> dict[str, int]:
        page = house.app.test_client().get(f"/api/tenants/{user_id}/sessions").json
        assert page is not None
        return {one["session_id"]: one["message_count"] for one in page["sessions"]}

    assert left("bob") == {"three": 2, "two": 2}
    house.hours(3)
    assert left("bob") == left("alice") == {}
    assert house.tenants == ["alice", "bob"]


def test_figures_are_not_dropped_under_a_wrong_clock(make_app: MakeApp) -> None:
    house = House(make_app, REQUEST_RETENTION="35d")
    house.hours(3)
    house.clock.jump(100 * DAY)
    run_once(house.services, house.watch)
    house.clock.jump(-100 * DAY)
    with house.services.database.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM requests", {}).fetchone() == (1,)


def test_what_nobody_has_rolled_up_is_rolled_up(make_app: MakeApp) -> None:
    house = House(make_app)
    with house.services.database.read() as connection:
        assert is_anything_pending(connection)
    house.hours(3)
    with house.services.database.read() as connection:
        assert not is_anything_pending(connection)


def test_the_watch_says_how_far_it_jumped_and_how_long_it_waits() -> None:
    clock = HandClock()
    watch = ClockWatch(clock)
    assert watch.doubt(clock.now_ms() - 1000, usual_gap=HOUR) is None
    clock.jump(DAY)
    assert watch.doubt(None, usual_gap=HOUR) == Doubt(round(DAY), round(SETTLE_SECONDS) + 1)
    clock.advance(SETTLE_SECONDS)
    assert watch.doubt(None, usual_gap=HOUR) is None
    clock.jump(-HOUR)
    assert watch.doubt(None, usual_gap=HOUR) is not None


def test_small_corrections_are_no_jump() -> None:
    clock = HandClock()
    watch = ClockWatch(clock)
    for correction in (1, -1, 10, -20):
        clock.jump(correction)
        clock.advance(60)
        assert watch.doubt(clock.now_ms() - 1000, usual_gap=HOUR) is None


def test_a_new_database_is_no_news(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    services = services_of(make_app())
    run_once(services, ClockWatch(services.clock))
    assert "clock_in_doubt" not in [record.message for record in caplog.records]
