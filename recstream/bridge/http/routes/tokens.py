"""``POST /v1/tokens``: short-lived tokens for users."""

from typing import Annotated

import msgspec

from recstream.bridge.auth import DEFAULT_TTL_S, MAX_TTL_S, Authenticator
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.core.events import MAX_ID_CHARACTERS


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user of a token, and its time to live in seconds."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_TTL_S)] = DEFAULT_TTL_S


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and its expiry in milliseconds since 1970."""

    token: str
    user: str
    expires_ts: int


class TokenRoutes:
    """Tokens."""

    tag = "tokens"

    def __init__(self, deps: Deps) -> None:
        self._auth: Authenticator = deps.auth

    @route("POST", "/v1/tokens", status=201)
    def post_token(self, body: TokenRequest) -> TokenAnswer:
        """Issue a short-lived token for a user."""
        token, expires_s = self._auth.issue(body.user, ttl_s=body.ttl_s)
        return TokenAnswer(token=token, user=body.user, expires_ts=round(expires_s * 1000))
