"""A program that records turns and rolls them up until it is killed; it prints what is stored."""

from __future__ import annotations

import sys
import threading

from webapp.messages import Message
from webapp.storage import Connection, open_database
from webapp.tenant_data.storing import store_refusals, store_turn
from webapp.tenants import store as tenants
from webapp.usage import store as facts
from webapp.usage.figures import EVERYONE
from webapp.usage.records import Refusal, RequestRecord
from webapp.usage.rollup import store

NOW = 1_795_471_966_062


def main(url: str) -> None:
    database = open_database(url)

    def turn(index: int) -> None:
        def work(connection: Connection) -> None:
            number = tenants.ensure(connection, f"user-{index % 5}", NOW)
            record = RequestRecord(
                NOW + index, "chat", 200, index % 900, "req", "", index % 7, 3, 2
            )
            messages = (Message.user("hello"), Message.assistant("hi"))
            standing = tenants.standing(connection, f"user-{index % 5}")
            assert standing is not None
            store_turn(connection, number, "default", messages, 4, record, standing.turn)
            refusal = Refusal(NOW - NOW % 60_000, "rate_limited", limited=True)
            store_refusals(connection, number, refusal, 2)
            facts.count_refusals(connection, EVERYONE, refusal, 2)

        database.write(work)
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()

    def roll() -> None:
        while True:
            database.write_long(lambda connection: store.step(connection, most=3))

    for _ in range(2):
        threading.Thread(target=roll, daemon=True).start()
    index = 0
    while True:
        turn(index)
        index += 1


if __name__ == "__main__":
    main(sys.argv[1])
