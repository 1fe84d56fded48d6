"""docker-compose.yml as Docker Compose reads it, and the commands in it run directly."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recstream.runtime.supervisor import DRAIN_S

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SECRET = "x" * 40


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that gives a profile's services, after the checks of Compose's own loader."""
    go = shutil.which("go")
    assert go is not None, "Compose's own loader is built with Go, which is not on the PATH"
    checker = tmp_path_factory.mktemp("compose") / "check"
    subprocess.run(
        [go, "build", "-trimpath", "-o", str(checker), "."],
        cwd=ROOT / "scripts" / "servers" / "compose",
        check=True,
        timeout=300,
    )

    def services(profile: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(checker), str(ROOT / "docker-compose.yml"), profile],
            env={**os.environ, "RECSTREAM_SECRET": SECRET},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["services"]
        return found

    return services


def test_the_default_profile_is_one_container_and_the_full_one_everything(read: Any) -> None:
    assert set(read("default")) == {"recstream"}
    assert set(read("full")) == {
        *("kafka", "mongo", "topics", "worker-1", "worker-2", "trainer", "bridge")
    }


@pytest.mark.parametrize("profile", ["default", "full"])
def test_ports_are_on_loopback_data_is_in_named_volumes_and_stopping_outlasts_the_drain(
    read: Any, profile: str
) -> None:
    for name, service in read(profile).items():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
        assert all(volume["type"] == "volume" for volume in service.get("volumes", []))
        assert name == "topics" or service["volumes"]
        assert float(service["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_roles_wait_for_healthy_servers_and_for_the_topics(read: Any) -> None:
    services = read("full")
    for name in ("worker-1", "worker-2", "trainer", "bridge"):
        waits = {other: each["condition"] for other, each in services[name]["depends_on"].items()}
        assert waits == {
            "kafka": "service_healthy",
            "mongo": "service_healthy",
            "topics": "service_completed_successfully",
        }
    assert all("test" in services[name]["healthcheck"] for name in ("kafka", "mongo", "bridge"))


@pytest.mark.parametrize("profile", ["default", "full"])
def test_every_role_is_a_command_that_there_is_with_settings_that_there_are(
    read: Any, profile: str, tmp_path: Path
) -> None:
    for service in read(profile).values():
        if service.get("image") != "recstream":
            continue
        environment = {**os.environ, **service["environment"], "RECSTREAM_DATA_DIR": str(tmp_path)}
        words = service["command"]
        done = subprocess.run(
            [sys.executable, "-m", "recstream", *words, "--help"],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert all(option in done.stdout for option in words if option.startswith("--"))
        load = "from recstream.settings import load; load()"
        subprocess.run([sys.executable, "-c", load], env=environment, check=True, timeout=60)


def test_the_one_shot_makes_the_topics_on_a_real_broker(read: Any, kafka_url: str) -> None:
    words = read("full")["topics"]["command"]

    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "recstream", *words, "--json"],
            env={**os.environ, "RECSTREAM_BROKER": kafka_url},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["recstream.interactions"] == 4


def test_the_listeners_that_kafka_advertises_are_all_named(read: Any) -> None:
    kafka = read("full")["kafka"]["environment"]
    names = {each.split("://")[0] for each in kafka["KAFKA_LISTENERS"].split(",")}

    mapped = {
        each.split(":")[0] for each in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    }
    advertised = {each.split("://")[0] for each in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")}
    assert names == mapped
    assert advertised == names - {kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert kafka["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised


def test_the_image_installs_what_the_lock_file_names_and_runs_without_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert "uv sync --frozen" in dockerfile
    assert re.search(r"^USER recstream$", dockerfile, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
    assert {word for words in copied for word in words.split()} <= {
        line.removeprefix("!") for line in ignored
    }


def test_the_secret_comes_from_outside() -> None:
    named = re.findall(r"SECRET: (.*)", (ROOT / "docker-compose.yml").read_text())

    assert named == ['"${RECSTREAM_SECRET:-}"']
