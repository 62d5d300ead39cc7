"""The OpenAPI document of the REST API; the routes that serve it are in web/api/documents.py."""

from webapp.web.openapi.document import build_document

__all__ = ["build_document"]
