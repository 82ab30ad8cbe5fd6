"""The files that describe clusters, field by field as their documentation has them: Docker's Compose file reference,
and KubeRay's RayCluster (ray.io/v1) with the parts of a Kubernetes pod that it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "cluster"
Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]+$")]
Duration = Annotated[str, StringConstraints(pattern=r"^(\d+(us|ms|s|m|h))+$")]
Size = Annotated[str, StringConstraints(pattern=r"^\d+(b|k|kb|m|mb|g|gb)$")]
Port = Annotated[str, StringConstraints(pattern=r"^((\d{1,3}\.){3}\d{1,3}:)?(\d+:)?\d+(/(tcp|udp))?$")]
Volume = Annotated[str, StringConstraints(pattern=r"^[\w./~-]+:/[\w./-]+(:(ro|rw))?$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Strict(BaseModel):
    """What is not documented is a mistake, and a text is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Healthcheck(Strict):
    test: list[str]
    interval: Duration = "30s"
    timeout: Duration = "30s"
    retries: int = Field(default=3, ge=1)
    start_period: Duration = "0s"


class Condition(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Service(Strict):
    image: str
    command: str | list[str] | None = None
    shm_size: Size | None = None
    ports: list[Port] = []
    volumes: list[Volume] = []
    environment: dict[str, str] = {}
    healthcheck: Healthcheck | None = None
    depends_on: dict[Name, Condition] = {}
    profiles: list[Name] = []


class Compose(Strict):
    services: dict[Name, Service]
    volumes: dict[Name, dict[str, Any]] = {}


class Resources(Strict):
    requests: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]


class Mount(Strict):
    name: Label
    mount_path: str = Field(alias="mountPath", pattern=r"^/[^:]*$")


class Container(Strict):
    name: Label
    image: str
    resources: Resources
    volume_mounts: list[Mount] = Field(alias="volumeMounts")


class Claim(Strict):
    claim_name: Label = Field(alias="claimName")


class PodVolume(Strict):
    name: Label
    claim: Claim = Field(alias="persistentVolumeClaim")


class PodSecurity(Strict):
    group: int = Field(alias="fsGroup", ge=0)


class Pod(Strict):
    security: PodSecurity = Field(alias="securityContext")
    containers: list[Container] = Field(min_length=1)
    volumes: list[PodVolume]


class Template(Strict):
    spec: Pod


class HeadGroup(Strict):
    start: dict[str, str] = Field(alias="rayStartParams")
    template: Template


class WorkerGroup(HeadGroup):
    name: Label = Field(alias="groupName")
    replicas: int = Field(ge=0)
    least: int = Field(alias="minReplicas", ge=0)
    most: int = Field(alias="maxReplicas", ge=1)


class Autoscaler(Strict):
    idle: int = Field(alias="idleTimeoutSeconds", ge=1)


class Cluster(Strict):
    version: str = Field(alias="rayVersion", pattern=r"^\d+\.\d+\.\d+$")
    grows: bool = Field(alias="enableInTreeAutoscaling")
    autoscaler: Autoscaler = Field(alias="autoscalerOptions")
    head: HeadGroup = Field(alias="headGroupSpec")
    workers: list[WorkerGroup] = Field(alias="workerGroupSpecs")


class Metadata(Strict):
    name: Label


class RayCluster(Strict):
    version: Literal["ray.io/v1"] = Field(alias="apiVersion")
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: Cluster


def load(name: str) -> Any:
    """What a file holds."""
    return yaml.safe_load((FOLDER / name).read_text())


def test_the_compose_file() -> None:
    compose = Compose.model_validate(load("compose.yaml"))
    for name, service in compose.services.items():
        assert {volume.partition(":")[0] for volume in service.volumes} <= compose.volumes.keys(), name
        assert service.depends_on.keys() <= compose.services.keys(), name
        for waited, how in service.depends_on.items():
            assert how.condition != "service_healthy" or compose.services[waited].healthcheck is not None
        for port in service.ports:
            assert port.startswith("127.0.0.1:"), "Ray has no password"
    (address,) = [service.environment["RAY_ADDRESS"] for service in compose.services.values() if service.environment]
    assert re.fullmatch(r"ray://(\w+):10001", address)
    assert address[6:].partition(":")[0] in compose.services


def test_the_kuberay_manifest() -> None:
    manifest = RayCluster.model_validate(load("kuberay.yaml"))
    cluster = manifest.spec
    selected = f"-l ray.io/cluster={manifest.metadata.name},ray.io/node-type=head "
    assert selected in (FOLDER / "kuberay.yaml").read_text(), "the pod in which its first lines run a command"
    assert cluster.head.start["num-cpus"] == "0", "the head holds no jobs"
    for group in (cluster.head, *cluster.workers):
        pod = group.template.spec
        mounted = {mount.name for container in pod.containers for mount in container.volume_mounts}
        assert mounted == {volume.name for volume in pod.volumes}
        for container in pod.containers:
            assert container.resources.requests.keys() == container.resources.limits.keys()
    image = (FOLDER.parents[1] / "packaging" / "docker" / "ray.Dockerfile").read_text()
    assert f"--uid {cluster.head.template.spec.security.group} " in image, "who runs there may write what is mounted"
    assert " wget " in image, "by which KubeRay looks whether a node is well"
    for workers in cluster.workers:
        assert workers.template.spec.security == cluster.head.template.spec.security
        assert workers.least <= workers.replicas <= workers.most


@pytest.mark.parametrize(
    ("name", "model", "place", "value"),
    [
        ("compose.yaml", Compose, ("services", "head", "shm_size"), 1),
        ("compose.yaml", Compose, ("services", "head", "port"), ["8265:8265"]),
        ("compose.yaml", Compose, ("services", "worker", "depends_on", "head", "condition"), "healthy"),
        ("kuberay.yaml", RayCluster, ("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        ("kuberay.yaml", RayCluster, ("spec", "workerGroupSpec"), []),
        ("kuberay.yaml", RayCluster, ("apiVersion",), "ray.io/v2"),
    ],
)
def test_a_mistake_is_seen(name: str, model: type[BaseModel], place: tuple[str, ...], value: object) -> None:
    document = load(name)
    at = document
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    with pytest.raises(ValidationError, match=place[-1]):
        model.model_validate(document)
