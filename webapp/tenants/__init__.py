"""The tenants, their counters and limits; not their messages."""
