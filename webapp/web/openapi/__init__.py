"""The OpenAPI document of the REST API, and the routes that serve it."""
