"""Measuring Switchboard beside its peers; nothing in here is imported by the application."""
