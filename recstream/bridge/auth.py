"""Authentication by short-lived HMAC tokens; a loopback bridge without a secret trusts everybody."""

from __future__ import annotations

import math
import secrets as random_secrets
from collections.abc import Callable
from typing import Annotated, Literal

import jwt
import msgspec

from recstream.core.events import MAX_ID_CHARACTERS
from recstream.errors import StartupError, TokenRefused
from recstream.settings import Settings

ALGORITHM = "HS256"
MIN_SECRET_CHARACTERS = 32
DEFAULT_TTL_S = 900
MAX_TTL_S = 24 * 3600
USER, SERVICE = "user", "service"
MAX_EXPIRY_S = 1 << 40


class Identity(msgspec.Struct, frozen=True):
    """The sender of a request.

    Attributes
    ----------
    user : str or None
        The user a token was made for.
    is_service : bool
        May act for every user: a shop's server, or anybody on an open loopback bridge.
    """

    user: str | None = None
    is_service: bool = False
    expires_s: float | None = None

    def may_act_for(self, user: str) -> bool:
        """Return whether this identity may read and write a user's data."""
        return self.is_service or self.user == user


NOBODY = Identity()
EVERYBODY = Identity(is_service=True)


class _Claims(msgspec.Struct):
    """Claims of a token; a user's id obeys the rules of ids in events."""

    scope: Literal["user", "service"]
    exp: Annotated[float, msgspec.Meta(ge=0, le=MAX_EXPIRY_S)]
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)] | None = None


class Authenticator:
    """Issues and verifies tokens.

    A token is a JWT (HS256) with ``sub`` (the user), ``scope`` (``user`` or ``service``) and ``exp``,
    so that a shop's server can issue them in any language.

    Parameters
    ----------
    secret : str
        Empty: a random one for this process, and everybody may act for every user.
    """

    def __init__(self, secret: str, *, now: Callable[[], float]) -> None:
        self.is_open = not secret
        self._secret = secret or random_secrets.token_urlsafe(48)
        self._now = now

    @classmethod
    def from_settings(cls, settings: Settings, *, now: Callable[[], float]) -> Authenticator:
        """Return the authenticator of an installation.

        Raises
        ------
        StartupError
            The bridge would be open to other machines, or its secret is too short.
        """
        if not settings.secret and not settings.is_loopback:
            raise StartupError(
                f"host {settings.host} can be reached from other machines, so tokens need a secret; "
                "set RECSTREAM_SECRET or RECSTREAM_SECRET_FILE, or listen on 127.0.0.1"
            )
        if 0 < len(settings.secret) < MIN_SECRET_CHARACTERS:
            raise StartupError(
                f"secret must have at least {MIN_SECRET_CHARACTERS} characters, "
                f"got {len(settings.secret)}; make one with `openssl rand -base64 33`"
            )
        return cls(settings.secret, now=now)

    def issue(self, user: str | None, *, ttl_s: int = DEFAULT_TTL_S) -> tuple[str, float]:
        """Return a token and its expiry (seconds since 1970); without a user: a service token."""
        issued_s = int(self._now())
        claims = {
            "iat": issued_s,
            "exp": issued_s + ttl_s,
            "scope": SERVICE if user is None else USER,
        }
        if user is not None:
            claims["sub"] = user
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM), issued_s + ttl_s

    def verify(self, token: str) -> Identity:
        """Return the identity in a token.

        Raises
        ------
        TokenRefused
            With ``expired`` set if a newer token is enough.
        """
        try:
            # Expiry is checked below: the clock is passed in, and PyJWT would read its own.
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                options={"require": ["exp", "scope"], "verify_exp": False, "verify_iat": False},
            )
        except Exception as error:  # PyJWT lets some of what a payload does through
            raise TokenRefused(f"the token is invalid: {error}") from error
        try:
            checked = msgspec.convert(claims, _Claims)
        except (msgspec.ValidationError, OverflowError) as error:
            raise TokenRefused(f"the token is invalid: {error}") from error
        if checked.scope == USER and not checked.sub:
            raise TokenRefused("the token is invalid: scope user needs a sub")
        if not math.isfinite(checked.exp):
            raise TokenRefused("the token is invalid: exp must be a number of seconds since 1970")
        if checked.exp <= self._now():
            raise TokenRefused("the token has expired; ask for a new one", expired=True)
        return Identity(
            user=checked.sub, is_service=checked.scope == SERVICE, expires_s=checked.exp
        )

    def identify(self, authorization: str | None) -> Identity:
        """Return the identity in an ``Authorization`` header.

        Raises
        ------
        TokenRefused
        """
        if authorization is None:
            return EVERYBODY if self.is_open else NOBODY
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("expected `Authorization: Bearer <token>`")
        return self.verify(token.strip())

    def greet(self, token: str, user: str | None) -> Identity:
        """Return the sender of a `Hello`: from its token, or from its user if the bridge is open.

        Raises
        ------
        TokenRefused
        """
        if token:
            return self.verify(token)
        if not self.is_open:
            raise TokenRefused("hello needs a token; ask POST /v1/tokens for one")
        return Identity(user=user, is_service=True)
