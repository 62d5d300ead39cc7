"""The WSGI target of the production server: `webapp.wsgi:app`, with its logs and its chores."""

from __future__ import annotations

import gc
import logging
import sys
from dataclasses import replace

from webapp import create_app
from webapp.environment import environment, is_dev_server, server_log_format
from webapp.errors import SwitchboardError
from webapp.housekeeping import start_housekeeping
from webapp.observability.logs import configure_logging
from webapp.observability.otel import open_tracing
from webapp.server.log import LINES
from webapp.settings import load_settings
from webapp.web.context import EXTENSION

try:
    _loaded = replace(load_settings(), for_this_machine=is_dev_server())
    configure_logging(_loaded.values.log_format, _loaded.values.log_level)
    _tracing = open_tracing(environment(), _loaded.values.openai_base_url)
    app = create_app(_loaded, tracing=_tracing)
    app.extensions[EXTENSION].require_sound_database()
    app.extensions[EXTENSION].warm_up()
except SwitchboardError as error:
    if server_log_format() == "json":
        logging.getLogger(LINES).error("cannot_start", extra={"reason": str(error)})
    else:
        sys.stderr.write(f"{error}\n")
    sys.exit(4)  # gunicorn takes this for a worker that cannot boot, and stops
# What is loaded by now stays: the collector need not walk through it again and again.
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 20, 20)
start_housekeeping(app.extensions[EXTENSION])
