"""Export and import of a tenant's data, as JSON Lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flask import Response, request

from webapp.accounts.privacy import HIDDEN
from webapp.errors import ClientGone, Forbidden, SwitchboardError, UnsupportedMediaType
from webapp.tenant_data.transfer.items import IN_MEMORY, MAX_LINE_BYTES
from webapp.tenant_data.transfers import Format
from webapp.web.answers import Imported, answer
from webapp.web.api.tenants import tenant_of_path
from webapp.web.audited import audited
from webapp.web.binding import QueryShape, bind_query, require_plain_body
from webapp.web.context import RequestContext, context, current_request, services
from webapp.web.pacing import blocks_of, lines_of, paced

logger = logging.getLogger("switchboard.errors")

MEDIA_TYPE = "application/x-ndjson"
TAKEN_TYPES = frozenset({MEDIA_TYPE, "application/jsonl", "application/json-lines"})
MAX_IMPORT_BYTES = 64 * 1024 * 1024


class TransferQuery(QueryShape):
    """The query of an export and of an import: in which format the lines are."""

    format: Format = "switchboard"


def export_tenant(user_id: str) -> Response:
    """Everything about one tenant, sent while it is read; the audit log notes it first."""
    user_id = tenant_of_path(user_id)
    form = bind_query(TransferQuery).format
    here = services()
    hidden = here.settings.hide_conversations
    if form == "openai" and hidden:
        raise Forbidden(HIDDEN, code="conversations_hidden")
    lines = here.acts.transfers.export(
        user_id, conversations=not hidden, form=form, audit=audited()
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
    form = bind_query(TransferQuery).format
    request.max_content_length = MAX_IMPORT_BYTES
    longest = MAX_LINE_BYTES if form == "switchboard" else IN_MEMORY.conversation_bytes
    lines = paced(lines_of(request.stream.read, longest))
    imported = services().acts.transfers.import_(user_id, lines, form=form, audit=audited())
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
