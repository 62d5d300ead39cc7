"""The WSGI target of the production server: `webapp.wsgi:app`."""

from webapp import create_app

app = create_app()
