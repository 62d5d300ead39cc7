"""The settings of this process and where each came from; secrets are never shown."""

from __future__ import annotations

import os
import platform
from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue

from webapp.redaction import redacted_url
from webapp.setting_kinds import in_units
from webapp.settings import SECRET_NAMES, URL_NAMES, Settings, variable_name
from webapp.version import __version__
from webapp.web.context import services


def settings() -> ResponseReturnValue:
    loaded = services().loaded
    return render_template(
        "admin/settings.html",
        settings=[
            {
                "name": variable_name(name),
                "value": _in_force(loaded.values, name),
                "secret": name in SECRET_NAMES,
                "source": loaded.source_of(name),
            }
            for name in sorted(Settings.model_fields, key=variable_name)
        ],
        process=[
            ("Switchboard", __version__),
            ("Python", platform.python_version()),
            ("Process", str(os.getpid())),
        ],
    )


def _in_force(values: Settings, name: str) -> str:
    """What holds, set or not: one setting's default follows from another."""
    value = values.turn_seconds if name == "turn_timeout" else getattr(values, name)
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    """A secret's presence alone, a URL without what is secret in it: what is not shown does not
    reach the template."""
    if value is None or value == "" or value == ():
        return ""
    if name in SECRET_NAMES:
        return "set"
    if name in URL_NAMES:
        return redacted_url(value)
    if isinstance(value, tuple):
        return " ".join(str(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return in_units(value)
    return str(value)
