"""The console: server-rendered pages under /admin; no SQL and no rule of the domain is here."""
