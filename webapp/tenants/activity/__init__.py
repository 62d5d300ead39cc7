"""When tenants were last active."""
