"""How user ids are written in the database and in log lines."""
