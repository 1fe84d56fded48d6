"""A request's id stands in its answer and in the log line about its failure."""

import logging

import pytest
from flask import Flask

from recstream.bridge.http import problems, request_id
from recstream.errors import CatalogueUnavailable
from tests.bridge.bridge_world import World


@pytest.fixture
def app() -> Flask:
    app = Flask("test")
    request_id.install(app)
    problems.install(app)

    @app.get("/away")
    def away() -> str:
        raise CatalogueUnavailable("the catalogue is away")

    @app.get("/bug")
    def bug() -> str:
        raise ZeroDivisionError

    return app


@pytest.mark.parametrize("path", ["/away", "/bug"])
def test_the_log_names_the_request_that_failed(
    path: str, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = app.test_client().get(path)
    assert answer.status_code >= 500
    assert f"request={answer.headers['X-Request-Id']} " in caplog.text


def test_a_clients_own_id_is_kept(world: World) -> None:
    answer = world.get("/health/live", headers={"X-Request-Id": "shop-17:a"})
    assert answer.headers["X-Request-Id"] == "shop-17:a"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "a\u00e9"])
def test_an_id_that_could_break_a_log_line_is_replaced(sent: str, app: Flask) -> None:
    answer = app.test_client().get("/nowhere", headers={"X-Request-Id": sent})
    assert answer.headers["X-Request-Id"] not in {"", sent}
    assert answer.status_code == 404


def test_requests_get_ids_of_their_own(app: Flask) -> None:
    client = app.test_client()
    found = {client.get("/nowhere").headers["X-Request-Id"] for _ in range(10)}
    assert len(found) == 10
