"""Export and import of a tenant's data, as JSON Lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flask import Response, request

from webapp.errors import ClientGone, SwitchboardError, UnsupportedMediaType
from webapp.tenant_data.transfer.reading import MAX_LINE_BYTES
from webapp.web.answers import Imported, answer
from webapp.web.api.tenants import tenant_of_path
from webapp.web.audited import audited
from webapp.web.binding import require_plain_body
from webapp.web.context import RequestContext, context, current_request, services
from webapp.web.pacing import blocks_of, lines_of, paced

logger = logging.getLogger("switchboard.errors")

MEDIA_TYPE = "application/x-ndjson"
TAKEN_TYPES = frozenset({MEDIA_TYPE, "application/jsonl", "application/json-lines"})
MAX_IMPORT_BYTES = 64 * 1024 * 1024


def export_tenant(user_id: str) -> Response:
    """Everything about one tenant, sent while it is read; the audit log notes it first."""
    user_id = tenant_of_path(user_id)
    here = services()
    lines = here.acts.export(
        user_id, conversations=not here.settings.hide_conversations, audit=audited()
    )
    return Response(
        _until_broken(lines, context()),
        mimetype=MEDIA_TYPE,
        headers={"Content-Disposition": 'attachment; filename="tenant.jsonl"'},
    )


def import_tenant(user_id: str) -> Response:
    """Reads an export into the tenant, all of it or nothing."""
    user_id = tenant_of_path(user_id)
    if request.mimetype not in TAKEN_TYPES:
        raise UnsupportedMediaType(f"The body must be JSON Lines, with Content-Type: {MEDIA_TYPE}.")
    require_plain_body(current_request())
    request.max_content_length = MAX_IMPORT_BYTES
    lines = paced(lines_of(request.stream.read, MAX_LINE_BYTES))
    imported = services().acts.import_(user_id, lines, audit=audited())
    return answer(Imported, imported)


def _until_broken(lines: Iterator[bytes], here: RequestContext) -> Iterator[bytes]:
    """The head of the answer is sent by now: a failure leaves the export without its last line."""
    try:
        yield from blocks_of(paced(lines))
    except SwitchboardError as error:
        here.ended(error)
        logger.warning("export_broken", extra={"request_id": here.request_id, "code": error.code})
    except GeneratorExit:
        here.ended(ClientGone("The caller hung up."))
        raise
