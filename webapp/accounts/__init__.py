"""Who may do what: roles, keys, tokens, console accounts, audit; nothing of HTTP is here."""
