"""What HIDE_CONVERSATIONS takes away: nobody who runs the server learns what users said.

The rule, for people at the console, keys and the terminal alike:

- No role reads messages, names of sessions or session state, in whatever form: lists, exports, the
  playground.
- To run a turn as a user is to read as well, because the agent remembers and can be asked. So only
  the programs that users talk through may do it: keys of the role `chat` that were made in the
  terminal, the tokens these sign, and tokens of the identity provider. A key that was made or
  rotated in the console was shown to an admin, and keys of the other roles are in admins' hands.
- A person with a shell on the machine has the database. The terminal keeps to the rule as well,
  unless an option says otherwise; the audit log then has an entry.
"""

from __future__ import annotations

from typing import Final

from webapp.accounts.principal import Principal
from webapp.accounts.roles import Permission, Role
from webapp.errors import Forbidden

LOOKING: Final = frozenset({Permission.READ_CONVERSATIONS, Permission.USE_PLAYGROUND})
SPEAKING: Final = frozenset({Permission.RUN_TURNS, Permission.ISSUE_TOKENS})

HIDDEN = "Conversations are hidden on this server."
NOT_FOR_ADMINS = (
    "Conversations are hidden on this server, so only a chat key that was made in the terminal may"
    " speak for users: switchboard keys create NAME --role chat --users PATTERN."
)


def require_not_hidden(principal: Principal, permission: Permission) -> None:
    """`Forbidden` for what would show a conversation; called where conversations are hidden."""
    if permission in LOOKING:
        raise Forbidden(HIDDEN, code="conversations_hidden")
    if permission in SPEAKING and not _speaks_for_users_alone(principal):
        raise Forbidden(NOT_FOR_ADMINS, code="conversations_hidden")


def require_mintable(role: Role | str) -> None:
    """`Forbidden` for a key that no admin may see; called where conversations are hidden."""
    if role == "chat":
        raise Forbidden(NOT_FOR_ADMINS, code="conversations_hidden")


def _speaks_for_users_alone(principal: Principal) -> bool:
    if principal.kind == "local":
        return True  # this machine in `dev`, which has the database before it
    return principal.role == "chat" and not principal.known_to_admins
