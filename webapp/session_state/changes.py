"""What a turn changes in its session's state, and how that meets what others changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from webapp.errors import StateConflict, StateTooLarge
from webapp.session_state.values import Fields, require_size, size_of


@dataclass(frozen=True, slots=True)
class StateChanges:
    """Keys that were set, with their JSON text, and keys that were deleted.

    `seen` has the text of those among them that were read before, None for a key that was not
    there: such a change was made of what was read.
    """

    sets: Mapping[str, str] = field(default_factory=dict)
    deletes: frozenset[str] = frozenset()
    seen: Mapping[str, str | None] = field(default_factory=dict)

    def apply(self, current: Mapping[str, str], most: int) -> Fields:
        """The state with the changes in it, made from the state as it is now.

        What others wrote under other keys stays. `StateConflict` when another wrote under a key
        that was read and then changed: one of the two changes would be lost.
        """
        for key, before in self.seen.items():
            if current.get(key) != before and current.get(key) != self.sets.get(key):
                raise StateConflict(
                    "The session's state was changed by another meanwhile, and by this turn as"
                    " well; nothing was stored."
                )
        changed = {key: text for key, text in current.items() if key not in self.deletes}
        changed.update(self.sets)
        try:
            require_size(size_of(changed), most)
        except StateTooLarge:
            raise StateConflict(
                "The session's state was made larger by another meanwhile, and this turn's changes"
                " have no room in it; nothing was stored."
            ) from None
        return changed
