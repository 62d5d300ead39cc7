"""PostgreSQL as the database: for several hosts."""
