"""The manifests for Kubernetes: commands, settings and ports are those of the package."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from recstream.cli import COMMANDS
from recstream.runtime.supervisor import DRAIN_S
from recstream.settings import Settings, load

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
DOCUMENTS: list[dict[str, Any]] = list(
    chain.from_iterable(
        yaml.safe_load_all(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))
    )
)
BY_NAME = {(each["kind"], each["metadata"]["name"]): each for each in DOCUMENTS}
WORKLOADS = [each for each in DOCUMENTS if each["kind"] in {"Deployment", "StatefulSet"}]
SERVICES = [each for each in DOCUMENTS if each["kind"] == "Service"]
ENVIRON: dict[str, str] = BY_NAME["ConfigMap", "recstream"]["data"]


def named(workloads: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("each", workloads, ids=lambda each: each["metadata"]["name"])


def container(each: dict[str, Any]) -> dict[str, Any]:
    (found,) = each["spec"]["template"]["spec"]["containers"]
    return found


def test_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(DOCUMENTS)


def test_the_settings_are_settings_of_the_package() -> None:
    known = {f"RECSTREAM_{name.upper()}" for name in Settings.__struct_fields__}
    assert set(ENVIRON) <= known
    found = load(environ={**ENVIRON, "RECSTREAM_CONFIG": "/dev/null"})
    assert found.spark_reads_log
    assert not found.self_tuning
    assert not found.is_loopback
    workers = BY_NAME["StatefulSet", "recstream-worker"]["spec"]["replicas"]
    assert workers <= found.partitions


@named(WORKLOADS)
def test_a_role_is_a_command_of_the_package_or_of_spark(each: dict[str, Any]) -> None:
    found = container(each)
    name = each["metadata"]["name"]
    if name.startswith("recstream-"):
        assert found["args"] == [name.removeprefix("recstream-")]
        assert found["args"][0] in COMMANDS
        assert each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN_S
    else:
        role = name.removeprefix("spark-")
        assert found["command"] == [
            "spark-class",
            f"org.apache.spark.deploy.{role}.{role.capitalize()}",
        ]
        assert each["spec"]["template"]["spec"]["enableServiceLinks"] is False


@named(WORKLOADS)
def test_volumes_selectors_and_claims_exist(each: dict[str, Any]) -> None:
    spec, pod = each["spec"], each["spec"]["template"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    volumes = {one["name"]: one for one in pod.get("volumes", [])}
    claims = {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", [])}
    for mount in container(each).get("volumeMounts", []):
        assert mount["name"] in volumes.keys() | claims
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", claim) in BY_NAME
    assert pod["securityContext"]["runAsNonRoot"]


@named(SERVICES)
def test_a_service_selects_one_role_and_a_port_of_it(each: dict[str, Any]) -> None:
    selected = [
        one
        for one in WORKLOADS
        if one["spec"]["template"]["metadata"]["labels"] == each["spec"]["selector"]
    ]
    (workload,) = selected
    ports = {port["name"] for port in container(workload)["ports"]}
    assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def test_ports_and_folders_agree_with_the_settings() -> None:
    bridge = container(BY_NAME["Deployment", "recstream-bridge"])
    assert [port["containerPort"] for port in bridge["ports"]] == [Settings().port]
    paths = {name: bridge[name]["httpGet"]["path"] for name in bridge if name.endswith("Probe")}
    assert paths == {
        "startupProbe": "/health/ready?role=bridge",  # a late trainer is not the bridge's fault
        "readinessProbe": "/health/ready?role=bridge",
        "livenessProbe": "/health/live",
    }
    master = BY_NAME["Service", "spark-master"]
    (port,) = master["spec"]["ports"]
    url = f"spark://{master['metadata']['name']}:{port['port']}"
    assert ENVIRON["RECSTREAM_SPARK_MASTER"] == url
    worker = container(BY_NAME["StatefulSet", "spark-worker"])
    assert worker["args"][-1] == url
    for found in (worker, container(BY_NAME["Deployment", "recstream-trainer"])):
        mounts = [mount["mountPath"] for mount in found["volumeMounts"]]
        assert any(ENVIRON["RECSTREAM_SPARK_FOLDER"].startswith(f"{each}/") for each in mounts)
    claim = BY_NAME["PersistentVolumeClaim", "recstream-spark"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
