"""What holds for every route: problems, tokens, origins, headers, files of the page, health."""

import gzip
import re
import socket

import pytest

from recstream.bridge.http.routes.site import PAGES
from tests.bridge.bridge_world import running
from tests.waiting import wait_until

HARMFUL = ("/../pyproject.toml", "/%2e%2e/pyproject.toml", "/css/../../README.md", "/.git/config")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v2/events", 404),
        ("DELETE", "/v1/events", 405),
        ("PATCH", "/v1/steering", 405),
        ("POST", "/v1/pipeline", 405),
    ],
)
def test_what_is_not_there_is_a_problem(world, method, path, status):
    answer = world.call(method, path, b"", kind=None)

    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert answer.json["status"] == status
    assert answer.json["instance"] == path
    assert {"type", "title", "detail"} <= answer.json.keys()


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "accept", "status", "kind"),
    [
        ("/nothing", BROWSER, 404, "text/html"),
        ("/assets/0/<b>.js", BROWSER, 404, "text/html"),
        ("/nothing", "*/*", 404, "application/problem+json"),
        ("/nothing", "application/json, text/html;q=0.9", 404, "application/problem+json"),
        ("/nothing", None, 404, "application/problem+json"),
        ("/v1/nothing", BROWSER, 404, "application/problem+json"),
        ("/health/ready?role=nobody", BROWSER, 400, "text/html"),
    ],
)
def test_a_browser_gets_a_page_about_an_address_that_is_wrong(world, path, accept, status, kind):
    headers = {"Accept": accept} if accept else {}
    answer = world.get(path.replace("<b>", "%3Cb%3E"), headers=headers)

    assert (answer.status, answer.kind) == (status, kind)
    if kind == "text/html":
        text = answer.body.decode()
        assert "Accept" in answer.headers["Vary"]
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert {'href="/"', 'href="/pipeline"', 'href="/docs"'} <= set(
            text.replace(">", " ").split()
        )
        assert "<b>" not in text


def test_a_browser_under_a_name_that_is_not_served_gets_a_page(world):
    answer = world.get("/", headers={"Host": "evil.test", "Accept": BROWSER})

    assert (answer.status, answer.kind) == (421, "text/html")
    assert "localhost" in answer.body.decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health/live", 200), ("/nothing", 404), ("/v1/nothing", 404), ("/openapi.json", 200)],
)
def test_answers_of_text_end_with_a_line_end(world, path, status):
    answer = world.get(path)

    assert (answer.status, answer.body[-2:]) == (status, b"}\n")


def test_405_names_the_methods_that_are_possible(world):
    assert "POST" in world.call("DELETE", "/v1/events").headers["Allow"]


def test_a_bug_is_a_problem_without_its_details(tmp_path, caplog):
    with running(tmp_path) as world:
        world.bridge.deps.status.pipeline = None

        answer = world.get("/v1/pipeline")

    assert (answer.status, answer.kind) == (500, "application/problem+json")
    assert "NoneType" not in answer.body.decode()
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("path", HARMFUL)
def test_files_outside_the_page_are_not_served(world, path):
    with socket.create_connection(("127.0.0.1", int(world.address.rpartition(":")[2]))) as raw:
        raw.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {world.address}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: raw.recv(65536), b""))

    assert b" 404 " in answer.split(b"\r\n", 1)[0]


def asset(page, name):
    """Return the address of a file that the page links to."""
    return re.search(rf'"(/assets/[0-9a-f]{{16}}/{name})"', page.body.decode())[1]


def test_the_page_has_a_strict_policy_and_its_files_the_right_types(world):
    page = world.get("/")
    script = world.get(asset(page, "app.js"))

    assert page.kind == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert script.kind == "text/javascript"
    assert script.headers["X-Content-Type-Options"] == "nosniff"


def test_files_of_the_page_are_kept_forever_under_names_of_their_content(world):
    page = world.get("/")
    address = asset(page, "app.js")

    script = world.get(address)

    assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert world.get(address.replace("/assets/", "/assets/0")).status == 404
    again = world.get("/", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert page.headers["Cache-Control"] == "no-cache"


def test_answers_are_compressed_for_those_who_accept_it(world):
    accepting = {"Accept-Encoding": "gzip"}
    address = asset(world.get("/"), "app.js")
    for path in (address, "/openapi.json"):
        plain, small = world.get(path), world.get(path, headers=accepting)

        assert "Content-Encoding" not in plain.headers
        assert small.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(small.body) == plain.body
        assert len(small.body) < len(plain.body) / 2
        assert "Accept-Encoding" in small.headers["Vary"]


def test_what_an_answer_varies_by_is_named_beside_the_origin(guarded):
    page = guarded.get("/", headers={"Accept-Encoding": "gzip"})

    assert set(page.headers["Vary"].split(", ")) == {"Accept-Encoding", "Origin"}


def test_the_shop_is_small_on_the_wire(world):
    accepting = {"Accept-Encoding": "gzip"}
    page = world.get("/")

    parts = [asset(page, name) for name in ("app.js", "css/main.css", "early.js", "icon.svg")]
    total = sum(len(world.get(part, headers=accepting).body) for part in parts)

    assert total < 100_000


@pytest.mark.parametrize("address", ["/pipeline", "/users/u%2F1", "/log/recstream.pipeline"])
def test_addresses_of_the_console_get_the_page(world, address):
    assert world.get(address).body == world.get("/").body


def test_the_pages_of_the_bridge_are_those_of_the_script(world):
    script = (world.bridge.deps.web / "app" / "pages.js").read_text()
    known = {found.split("/")[1] for found in re.findall(r'path: "(/[^"]*)"', script)}

    assert known - {""} <= PAGES


def test_health_says_whether_requests_can_be_served(world):
    assert world.get("/health/live").json == {"status": "live"}
    world.beat()
    wait_until(lambda: world.get("/health/ready").status == 200, "a worker's heartbeat")

    health = world.get("/health/ready").json
    assert world.get("/health/ready?role=bridge").status == 200
    assert world.get("/health/ready?role=nobody").status == 400
    assert (health["status"], health["roles"]["worker"]["lag"]) == ("ready", 0)


def test_metrics_are_declared_under_the_names_others_rely_on(world):
    text = world.get("/metrics").body.decode()

    for name in (
        "recstream_push_connections",
        "recstream_push_messages_total",
        "recstream_push_disconnects_total",
        "recstream_freshness_seconds",
        "recstream_model_generation",
        "recstream_http_requests_total",
    ):
        assert f"# TYPE {name}" in text


# Tokens and origins


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/users/ann/recommendations", 200),
        ("/v1/users/ann/events", 200),
        ("/v1/users/bob/recommendations", 403),
        ("/v1/users/bob/events", 403),
        ("/v1/log/recstream.interactions", 403),
        ("/v1/models", 403),
        ("/v1/items", 200),
        ("/v1/popular", 200),
    ],
)
def test_a_users_token_opens_what_is_the_users_own(guarded, path, status):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    assert guarded.get(path, token=token).status == status


def test_a_service_token_opens_everything(guarded):
    token, _ = guarded.bridge.deps.auth.issue(None)

    for path in ("/v1/users/ann/recommendations", "/v1/log/recstream.interactions", "/v1/models"):
        assert guarded.get(path, token=token).status == 200


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic YTpi", "Bearer ", "x"])
def test_a_token_that_is_no_token_is_401(guarded, header):
    answer = guarded.get("/v1/models", headers={"Authorization": header})

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_an_expired_token_is_401(guarded):
    token, _ = guarded.bridge.deps.auth.issue(None, ttl_s=1)
    guarded.clock.advance(1)

    assert guarded.get("/v1/models", token=token).status == 401


def test_a_page_elsewhere_may_not_post(world):
    answer = world.post(
        "/v1/events",
        {"type": "view", "user": "victim", "item": "p"},
        headers={"Origin": "https://evil.test"},
    )

    assert (answer.status, answer.kind) == (403, "application/problem+json")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1:80", "localhost:8000", "[::1]:8000"])
def test_an_open_bridge_answers_to_its_own_names(world, host):
    assert world.get("/v1/items", headers={"Host": host}).status == 200


@pytest.mark.parametrize("host", ["rebound.evil.test", "127.0.0.1.evil.test", "192.0.2.1"])
def test_an_open_bridge_does_not_answer_to_other_names(world, host):
    answer = world.get("/v1/items", headers={"Host": host})

    assert (answer.status, answer.kind) == (421, "application/problem+json")


def test_an_allowed_origin_may_ask_across_origins(guarded):
    headers = {"Origin": "https://shop.test", "Access-Control-Request-Method": "POST"}

    preflight = guarded.call("OPTIONS", "/v1/events", headers=headers)
    answer = guarded.get("/v1/items", headers={"Origin": "https://shop.test"})

    assert preflight.status == 204
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.test"


def test_an_origin_that_is_not_allowed_gets_no_permission(guarded):
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"}

    assert guarded.call("OPTIONS", "/v1/events", headers=headers).status == 403
    got = guarded.get("/v1/items", headers={"Origin": "https://evil.test"})
    assert "Access-Control-Allow-Origin" not in got.headers


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/steering/check", "/v1/users/a"])
def test_a_method_that_a_path_does_not_have_is_405_with_those_it_has(world, path):
    answer = world.get(path)

    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) & {"POST", "DELETE"}


def test_every_path_names_its_methods(world):
    paths = world.get("/openapi.json").json["paths"]
    for pattern, operations in paths.items():
        path = re.sub(r"\{[^}]*\}", "x", pattern)
        methods = {name.upper() for name in operations} & {"GET", "PUT", "POST", "PATCH", "DELETE"}

        options = world.call("OPTIONS", path)
        assert options.status == 200, path
        assert methods <= set(options.headers["Allow"].replace(" ", "").split(",")), path
        for method in {"PUT", "POST", "PATCH", "DELETE"} - methods:
            refused = world.call(method, path, {})
            assert (refused.status, bool(refused.headers["Allow"])) == (405, True), (method, path)


def test_a_plain_request_for_a_websocket_asks_for_the_upgrade(world):
    answer = world.get("/v1/ws")

    assert (answer.status, answer.kind) == (426, "application/problem+json")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("n=5&n=6", "n: expected one value, got 2"),
        ("n=1.5", "n: Expected `int | null`, got '1.5'"),
        ("known=maybe", "known: Expected `bool`, got 'maybe'"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_sent(world, query, expected):
    answer = world.get(f"/v1/users/u1/recommendations?{query}")

    assert answer.status == 400
    assert answer.json["detail"] == expected
