"""Makes the `limits` package know the URLs of our engines; importing this is all that is needed."""

import webapp.storage.sqlite.limits  # noqa: F401
