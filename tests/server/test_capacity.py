"""What a worker holds with the files it may open."""

from __future__ import annotations

import pytest

from webapp.server.capacity import FEWEST_OPEN_FILES, OTHER_FILES, capacity
from webapp.server.connections import RESERVE


def test_with_files_enough_there_are_the_turns_asked_for_and_more_connections() -> None:
    held = capacity(1000, 65_536)
    assert (held.turns, held.connections) == (1000, 4000)
    assert capacity(1, 65_536).connections >= 1000


@pytest.mark.parametrize("turns", [1, 10, 1000, 100_000])
@pytest.mark.parametrize("files", [FEWEST_OPEN_FILES, 300, 1024, 4096, 65_536])
def test_all_together_never_need_more_files_than_there_are(turns: int, files: int) -> None:
    held = capacity(turns, files)
    assert held.turns + held.connections + RESERVE + OTHER_FILES <= files
    assert 1 <= held.turns <= turns
    # Those that run and those that wait for room, and some besides.
    assert held.connections > 2 * held.turns
