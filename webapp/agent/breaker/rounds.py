"""What became of calls that began one after another, counted by user; decides nothing."""

from __future__ import annotations

# So much of the users of a round must fail before its calls say that the server is ill. A server
# with fewer errors is better served by retries.
ILL_SHARE = 0.9
# Calls that lie further apart say nothing together.
ROUND_SECONDS = 60.0


class Round:
    """Calls that began one after another, those under way included.

    Because a failure is judged among the calls that began with it, neither quick failures that
    come in before slow answers nor old successes before a long silence say what is not so. Users
    are counted and not calls, so that one who fails often weighs no more than another.
    """

    __slots__ = ("_answered", "_size", "_users", "began", "calls", "failing", "failures", "number")

    def __init__(self, number: int, size: int, began: float) -> None:
        self.number = number
        self.began = began
        self.calls = 0
        self.failures = 0
        self.failing: set[str] = set()
        self._size = size
        self._users: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def is_over(self, now: float) -> bool:
        """Whether the next call begins another round."""
        return self.calls >= self._size or now - self.began > ROUND_SECONDS

    def begin(self, user: str) -> None:
        self.calls += 1
        self._users[user] = self._users.get(user, 0) + 1

    def withdraw(self, user: str) -> None:
        """The call has ended and says nothing of the server."""
        self.calls -= 1
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]

    def answered(self, user: str) -> None:
        self._answered[user] = self._answered.get(user, 0) + 1
        self.failing.discard(user)

    def failed(self, user: str, *, after_answer: bool) -> None:
        """`after_answer` takes back that this call was answered: it broke off."""
        self.failures += 1
        if after_answer:
            self._answered[user] -= 1
        if not self._answered.get(user):
            self.failing.add(user)

    @property
    def says_ill(self) -> bool:
        """Whether nearly all users fail."""
        return len(self.failing) >= ILL_SHARE * len(self._users)

    @property
    def says_well(self) -> bool:
        """Whether half of the users have an answer."""
        answered = sum(number > 0 for number in self._answered.values())
        return bool(answered) and 2 * answered >= len(self._users)
