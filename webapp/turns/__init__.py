"""The queues in which one tenant's turns wait for each other; not what is done in a turn."""

from webapp.turns.local import LocalTurnQueue
from webapp.turns.queue import Cancellation, Load, Place, TurnQueue

__all__ = ["Cancellation", "Load", "LocalTurnQueue", "Place", "TurnQueue"]
