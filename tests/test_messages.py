"""Ids of messages."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from webapp.messages import new_message_id, random_uuid


def test_a_random_uuid_is_one_of_version_4() -> None:
    texts = {random_uuid() for _ in range(1000)}
    assert len(texts) == 1000
    for text in texts:
        read = UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, RFC_4122)
    # The two digits that are not all random, and some that are, take every value they may.
    assert {text[19] for text in texts} == set("89ab")
    assert len({text[0] for text in texts}) == len({text[-1] for text in texts}) == 16


def test_an_id_of_a_message_is_msg_and_a_uuid() -> None:
    mark, _, rest = new_message_id().partition("-")
    assert mark == "msg"
    assert UUID(rest).version == 4
