"""Export and import of a tenant's data, as JSON Lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flask import Response, request

from webapp.accounts.privacy import HIDDEN
from webapp.errors import ClientGone, Forbidden, SwitchboardError, UnsupportedMediaType
from webapp.tenant_data.transfer.items import IN_MEMORY, MAX_LINE_BYTES
from webapp.tenant_data.transfers import Format
from webapp.web.answers import Imported, ImportedAll, answer
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
    form, conversations = _asked()
    pieces = services().acts.transfers.export(
        user_id, conversations=conversations, form=form, audit=audited()
    )
    return _sent(pieces, "tenant.jsonl")


def export_all() -> Response:
    """Everything about all tenants, sent tenant by tenant; the audit log notes it first."""
    form, conversations = _asked()
    pieces = services().acts.transfers.export_all_pieces(
        conversations=conversations, form=form, audit=audited()
    )
    return _sent(pieces, "tenants.jsonl")


def import_tenant(user_id: str) -> Response:
    """Reads an export into the tenant, all of it or nothing."""
    user_id = tenant_of_path(user_id)
    form, lines = _taken()
    imported = services().acts.transfers.import_(user_id, lines, form=form, audit=audited())
    return answer(Imported, imported)


def import_all() -> Response:
    """Reads an export of all tenants, each under its own id; all of them or nothing."""
    form, lines = _taken()
    imported = services().acts.transfers.import_all_once(lines, form=form, audit=audited())
    return answer(ImportedAll, imported)


def _asked() -> tuple[Format, bool]:
    """The format of an export, and whether conversations may be in it."""
    form = bind_query(TransferQuery).format
    hidden = services().settings.hide_conversations
    if form == "openai" and hidden:
        raise Forbidden(HIDDEN, code="conversations_hidden")
    return form, not hidden


def _sent(pieces: Iterator[bytes], name: str) -> Response:
    return Response(
        _until_broken(pieces, context()),
        mimetype=MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _taken() -> tuple[Format, Iterator[bytes]]:
    """The format of an import, and its lines."""
    if request.mimetype not in TAKEN_TYPES:
        raise UnsupportedMediaType(f"The body must be JSON Lines, with Content-Type: {MEDIA_TYPE}.")
    require_plain_body(current_request())
    form = bind_query(TransferQuery).format
    request.max_content_length = MAX_IMPORT_BYTES
    longest = MAX_LINE_BYTES if form == "switchboard" else IN_MEMORY.conversation_bytes
    return form, paced(lines_of(request.stream.read, longest))


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
