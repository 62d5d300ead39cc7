"""The keys of the REST API."""

from webapp.accounts.keys.key import Key, NewKey
from webapp.accounts.keys.keys import DEFAULT_OVERLAP_SECONDS, Keys, Standing, forget_user

__all__ = ["DEFAULT_OVERLAP_SECONDS", "Key", "Keys", "NewKey", "Standing", "forget_user"]
