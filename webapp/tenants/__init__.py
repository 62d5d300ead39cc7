"""Who the agent serves: the tenants, their counters and limits; not what they said."""
