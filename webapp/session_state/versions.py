"""What a writer of a state says of the version that it read, so that no change is lost."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.errors import StateConflict


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold for a write; nothing when nothing is named.

    `versions`: it is one of these. `present`: there is a state. `absent`: there is none.
    """

    versions: frozenset[int] | None = None
    present: bool = False
    absent: bool = False

    def require(self, version: int, *, present: bool) -> None:
        """Raises `StateConflict` when the write would be lost, or lose another's."""
        if self.versions is not None and version not in self.versions:
            raise StateConflict(
                f"The state has changed since it was read: its version is {version} now."
            )
        if self.present and not present:
            raise StateConflict("The session has no state that could be changed.")
        if self.absent and present:
            raise StateConflict(f"The session has a state already: its version is {version}.")


ANY = Precondition()
