"""Everything of HTTP: routes, guards, binding, errors, pages; the only package with Flask in it."""
