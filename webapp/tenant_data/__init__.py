"""What concerns all that is kept of a tenant, whichever package keeps it; no SQL but reads."""
