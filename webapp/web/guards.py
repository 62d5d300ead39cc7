"""Finds the caller by the credential, and refuses in a second step: bad credentials are limited."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request, request

from webapp.accounts.principal import Principal
from webapp.accounts.privacy import require_not_hidden
from webapp.accounts.roles import Permission
from webapp.errors import Forbidden, RateLimited, SwitchboardError, Unauthenticated
from webapp.web.context import caller, context, current_request, services
from webapp.web.elsewhere import came_through_a_proxy, is_of_another_page
from webapp.web.limits import limits

BEARER = "bearer "
KEY_MARK = "sb_"
HEALTH = frozenset({"health.healthz", "health.readyz"})  # anybody may ask


def find_caller() -> None:
    """Notes the caller of a REST request, or why there is none; refuses nothing."""
    asked = current_request()
    if asked.endpoint in HEALTH:
        return  # to look a credential up takes the database, which may be what is asked about
    header = asked.headers.get("Authorization", "")
    here = context()
    if not header:
        if services().open_to_this_machine:
            _find_this_machine(asked)
        return
    try:
        here.principal = _principal(header)
    except Unauthenticated as error:
        here.credential_fault = _counted(error)
    except SwitchboardError as error:
        here.credential_fault = error


def _find_this_machine(asked: Request) -> None:
    """Without a key, only requests that a person at this machine meant to make are answered."""
    here = context()
    if came_through_a_proxy(asked):
        here.credential_fault = Unauthenticated(
            "Without a key only this machine is answered, and this request came through a proxy."
        )
    elif is_of_another_page(asked, services().settings.cors_origins):
        here.credential_fault = Forbidden(
            "A page of another site made this request, so nothing was done.", code="foreign_origin"
        )
    else:
        here.principal = Principal.local()


def _counted(error: Unauthenticated) -> SwitchboardError:
    """The fault of a bad credential, or that there were too many of them."""
    try:
        limits().count_failure(request.remote_addr or "unknown")
    except RateLimited as refused:
        return refused
    return error


def _principal(header: str) -> Principal:
    if header[: len(BEARER)].lower() != BEARER:
        raise Unauthenticated("Authorization must be: Bearer and a key or a token.")
    credential = header[len(BEARER) :].strip()
    if credential.startswith(KEY_MARK):
        principal = services().keys.verify(credential)
        if principal is None:
            raise Unauthenticated("This key is not known, has expired or was revoked.")
        return principal
    principal = services().tokens.verify(credential)
    if principal is None:
        raise Unauthenticated("This token is not valid here, or has expired.")
    return principal


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses callers without the permission, which the OpenAPI document reads here."""

    permission: Permission

    def __call__(self) -> None:
        fault = context().credential_fault
        if fault is not None:
            raise fault
        if not caller().may(self.permission):
            raise Forbidden("This credential may not do that.")
        if services().settings.hide_conversations:
            require_not_hidden(caller(), self.permission)


def require(permission: Permission) -> Guard:
    """A guard for a group of routes, or the first line of one."""
    return Guard(permission)
