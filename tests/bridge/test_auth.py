"""Tokens: whom they are for, how long, and what a bridge refuses to start without."""

import json

import jwt
import pytest

from recstream.bridge.auth import Authenticator
from recstream.errors import StartupError, TokenRefused
from recstream.settings import Settings
from tests.bridge.bridge_world import SECRET

NOW_S = 1_000_000


def authenticator(secret=SECRET, now_s=NOW_S):
    return Authenticator(secret, now=lambda: now_s)


def test_a_token_names_its_user_until_it_expires():
    token, expires_s = authenticator().issue("ann", ttl_s=60)

    identity = authenticator(now_s=NOW_S + 59).verify(token)

    assert (identity.user, identity.is_service) == ("ann", False)
    assert identity.expires_s == expires_s == NOW_S + 60
    with pytest.raises(TokenRefused) as refused:
        authenticator(now_s=NOW_S + 60).verify(token)
    assert refused.value.expired


def test_a_shops_server_can_make_tokens_with_any_jwt_library():
    claims = {"sub": "ann", "scope": "user", "exp": NOW_S + 5}

    assert authenticator().verify(jwt.encode(claims, SECRET, "HS256")).user == "ann"


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode({"sub": "a", "scope": "user", "exp": NOW_S + 5}, "x" * 32, "HS256"),
        jwt.encode({"sub": "a", "scope": "user"}, SECRET, "HS256"),
        jwt.encode({"sub": "a", "scope": "admin", "exp": NOW_S + 5}, SECRET, "HS256"),
        jwt.encode({"scope": "user", "exp": NOW_S + 5}, SECRET, "HS256"),
        jwt.encode({"sub": "a", "scope": "user", "exp": NOW_S + 5}, None, "none"),
        jwt.encode({"sub": "a", "scope": "user", "exp": "soon"}, SECRET, "HS256"),
        "a.b.c",
        "",
    ],
)
def test_a_token_that_is_not_ours_is_refused(token):
    with pytest.raises(TokenRefused) as refused:
        authenticator().verify(token)

    assert not refused.value.expired


def test_without_a_secret_everybody_on_this_machine_is_trusted():
    open_one = authenticator(secret="")

    assert open_one.greet("", "ann").may_act_for("ann")
    assert open_one.identify(None).is_service


def test_with_a_secret_nobody_is_anybody_without_a_token():
    assert not authenticator().identify(None).may_act_for("ann")
    with pytest.raises(TokenRefused):
        authenticator().greet("", "ann")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "shop.test"])  # noqa: S104 - refused
def test_off_loopback_a_secret_is_required(host):
    with pytest.raises(StartupError, match="RECSTREAM_SECRET"):
        Authenticator.from_settings(Settings(host=host), now=lambda: 0.0)


def test_a_short_secret_is_refused():
    with pytest.raises(StartupError, match="32 characters"):
        Authenticator.from_settings(Settings(secret="short"), now=lambda: 0.0)  # noqa: S106 - too short


def test_a_token_for_a_user_without_an_id_is_not_a_service_token():
    token, _ = authenticator().issue("")

    with pytest.raises(TokenRefused, match="the token is invalid"):
        authenticator().verify(token)


def signed(**claims):
    """Return a token with the shop's secret, whatever its claims are."""
    valid = {"sub": "ann", "scope": "user", "exp": NOW_S + 5}
    payload = json.dumps(valid | claims).replace('"1e400"', "1" + "0" * 400)
    return jwt.api_jws.encode(payload.encode(), SECRET, "HS256")


@pytest.mark.parametrize("claim", ["scope", "exp", "sub"])
@pytest.mark.parametrize(
    "value",
    [
        None, [], ["user"], {}, {"a": 1}, True, "", "1e400", -1, 10**400, 1e300,
        float("nan"), float("inf"), float("-inf"), "x" * 257,
    ],
    ids=repr,
)  # fmt: skip
def test_a_claim_of_a_wrong_type_or_size_is_refused(claim, value):
    with pytest.raises(TokenRefused):
        authenticator().verify(signed(**{claim: value}))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"1", b'"a"', b"{", b"\xff", b"[" * 9000])
def test_a_signed_token_without_claims_is_refused(payload):
    with pytest.raises(TokenRefused):
        authenticator().verify(jwt.api_jws.encode(payload, SECRET, "HS256"))


@pytest.mark.parametrize("claims", [{"iat": "x"}, {"shop": []}])
def test_other_claims_do_not_matter(claims):
    assert authenticator().verify(signed(**claims)).expires_s == NOW_S + 5
