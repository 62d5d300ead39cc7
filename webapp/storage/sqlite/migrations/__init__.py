"""The schema, as numbered steps that are never changed once released, in modules named by their
first number.

Times are milliseconds since 1970-01-01 UTC. `tenants.user_id` and `audit.target` hold what
`tenants/user_ids/` makes of a user id: the id itself, or its encrypted form.
"""

# Importing a module adds its steps: the order of the imports is the order of the steps.
from webapp.storage.sqlite.migrations import steps_001, steps_006, steps_011, steps_018
from webapp.storage.sqlite.migrations.registry import migrations

__all__ = ["migrations", "steps_001", "steps_006", "steps_011", "steps_018"]
