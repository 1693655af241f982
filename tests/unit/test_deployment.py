"""What Kubernetes and compose start is there: commands, settings, ports, paths, and rights.

The manifests are read as they are; what kustomize puts into them are an image and a namespace.
"""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from dagster import DagsterRun
from dagster._core.instance.ref import InstanceRef
from dagster_k8s.job import construct_dagster_k8s_job
from dagster_k8s.launcher import K8sRunLauncher
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from kubernetes import client
from kubernetes import config as kubernetes_config
from kubernetes.client import ApiClient
from pydantic_settings import BaseSettings

import pipelines.settings
from docs.configuration import SECTIONS
from ingestion_api.__main__ import GRACEFUL_SECONDS
from ingestion_api.routes.health import router
from ingestion_api.settings import CollectorSettings

REPOSITORY = Path(__file__).parents[2]
KUBERNETES = REPOSITORY / "deploy/kubernetes"
IMAGE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
SETTINGS = {name.upper() for package in SECTIONS.values() for name in package.model_fields}
# What is no setting of Wattlake's own: of Dagster, of its instance here, and of Ray.
OTHERS = {"DAGSTER_POSTGRES_URL", "RUN_IMAGE", "RUN_NAMESPACE"}
OF_RAY = {"RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"}


def load(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomization(folder: str) -> dict[str, Any]:
    (found,) = load(KUBERNETES / folder / "kustomization.yaml")
    return found


def manifests(folder: str) -> list[dict[str, Any]]:
    files = [name for name in kustomization(folder)["resources"] if name.endswith(".yaml")]
    return [manifest for name in files for manifest in load(KUBERNETES / folder / name)]


FOLDERS = ["base", "dagster", "ray"]
MANIFESTS = [manifest for folder in FOLDERS for manifest in manifests(folder)]
LITERALS = dict(
    literal.split("=", 1)
    for folder in FOLDERS
    for config in kustomization(folder)["configMapGenerator"]
    for literal in config.get("literals", [])
)
COMPOSE: dict[str, Any] = load(REPOSITORY / "docker-compose.yml")[0]
WATTLAKE = {name: part for name, part in COMPOSE["services"].items() if name != "postgres"}


class Pod(NamedTuple):
    """Pod that something starts."""

    name: str
    template: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template["spec"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.spec["containers"]
        return dict(found)


PODS = [
    *(
        Pod(each["metadata"]["name"], each["spec"]["template"])
        for each in MANIFESTS
        if each["kind"] in {"Deployment", "Job"}
    ),
    *(
        Pod(f"ray {group.get('groupName', 'head')}", group["template"])
        for each in MANIFESTS
        if each["kind"] == "RayCluster"
        for group in (each["spec"]["headGroupSpec"], *each["spec"]["workerGroupSpecs"])
    ),
]


@pytest.fixture(scope="module")
def run() -> Pod:
    """The pod of a run of Dagster, as its launcher makes it of the `dagster.yaml` of here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_config, "load_incluster_config", lambda: None)
        patch.setenv("RUN_IMAGE", "wattlake")
        patch.setenv("RUN_NAMESPACE", "fleet")
        launcher = InstanceRef.from_dir(str(KUBERNETES / "dagster")).run_launcher
    assert isinstance(launcher, K8sRunLauncher)
    context = launcher.get_container_context_for_run(DagsterRun("hourly"))
    assert context.namespace == "fleet"
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(None, launcher),
        ["dagster", "api", "execute_run"],
        "run",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return Pod("run", as_json(job.spec.template))


@pytest.fixture(params=[*PODS, None], ids=lambda pod: pod.name if pod else "run")
def pod(request: pytest.FixtureRequest) -> Pod:
    """Each pod in turn."""
    found: Pod = request.param or request.getfixturevalue("run")
    return found


def as_json(model: object) -> Any:
    return ApiClient().sanitize_for_serialization(model)


def accepted(kind: str, given: dict[str, Any]) -> Any:
    """What Kubernetes reads; raises for a field that it does not know, or that is missing."""
    model = getattr(client, kind)
    return as_json(k8s_model_from_dict(model, k8s_snake_case_dict(model, given)))


@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_finds_its_files_and_there_are_no_others(folder: str) -> None:
    parts = kustomization(folder)
    files = {name for config in parts["configMapGenerator"] for name in config.get("files", [])}
    for name in (resources := parts["resources"]):
        assert (KUBERNETES / folder / name).exists()
    here = {path.name for path in (KUBERNETES / folder).iterdir()}
    assert here == {*resources, *files, "kustomization.yaml"} - {"../base", "../dagster"}


def test_kubernetes_takes_each_manifest() -> None:
    for manifest in MANIFESTS:
        if manifest["kind"] != "RayCluster":  # KubeRay's; Kubernetes itself knows its pods
            assert accepted(f"V1{manifest['kind']}", manifest) == manifest


def test_kubernetes_takes_a_pod(pod: Pod) -> None:
    assert accepted("V1PodTemplateSpec", pod.template) == pod.template


def test_a_pod_may_do_nothing_but_its_work(pod: Pod) -> None:
    (user,) = re.findall(r"useradd --uid (\d+)", IMAGE)
    own = int(user)
    assert pod.spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": own,
        "runAsGroup": own,
        "fsGroup": own,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod.container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in pod.container["resources"]["limits"]
    # A service's variables would be taken for settings: DAGSTER_PORT is one.
    assert pod.spec["enableServiceLinks"] is False


def test_what_a_pod_names_is_there(pod: Pod) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in MANIFESTS}
    names |= {
        ("ConfigMap", config["name"])
        for folder in FOLDERS
        for config in kustomization(folder)["configMapGenerator"]
    }
    assert ("ServiceAccount", pod.spec["serviceAccountName"]) in names
    (replaced,) = kustomization("base")["images"]
    assert pod.container["image"] == replaced["name"]
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    assert volumes.keys() == {mount["name"] for mount in pod.container.get("volumeMounts", [])}
    configs = {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
    for source in pod.container.get("envFrom", []):
        if "configMapRef" in source:
            configs.add(source["configMapRef"]["name"])
        else:
            assert source["secretRef"]["name"] == "wattlake"
    assert {("ConfigMap", name) for name in configs} <= names


def test_services_and_policies_choose_pods_that_there_are() -> None:
    labels = [pod.template["metadata"]["labels"] for pod in PODS]
    selectors = [
        each["spec"].get("podSelector", each["spec"].get("selector"))
        for each in MANIFESTS
        if each["kind"] in {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    ]
    assert len(selectors) == 8
    for selector in selectors:
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= each.items() for each in labels)


@pytest.mark.parametrize(("folder", "count"), [("dagster", 4), ("ray", 2)])
def test_kustomize_gives_one_image_to_all(folder: str, count: int) -> None:
    (replacement,) = kustomization(folder)["replacements"]
    (target,) = replacement["targets"]
    replaced = [
        value
        for manifest in manifests(folder)
        if manifest["kind"] == target["select"]["kind"]
        for path in target["fieldPaths"]
        for value in values_at(manifest, path.split("."))
    ]
    assert replaced == ["wattlake"] * count


def values_at(value: Any, path: list[str]) -> list[Any]:
    """The values that a field path of kustomize names."""
    if not path:
        return [value]
    step, *rest = path
    if named := re.fullmatch(r"\[name=(\w+)\]", step):
        parts = [each for each in value if each["name"] == named[1]]
    else:
        parts = value if step == "*" else [value[step]]
    return [found for part in parts for found in values_at(part, rest)]


def test_the_settings_of_kubernetes_can_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # away from a .env
    monkeypatch.setattr(pipelines.settings, "find_spec", lambda _: True)  # the image has Ray
    for name, value in {**LITERALS, "DATABASE_URL": "postgresql://u:p@host/d"}.items():
        monkeypatch.setenv(name, value)
    for package in SECTIONS.values():
        assert isinstance(package(), BaseSettings)


def test_every_variable_of_kubernetes_and_compose_exists() -> None:
    document = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^([A-Z_]+)=", document, re.MULTILINE))  # of the secret
    assert {"DATABASE_URL", "DAGSTER_POSTGRES_URL", "LAKE_STORAGE_OPTIONS"} <= names
    names |= LITERALS.keys()
    for pod in PODS:
        names |= {each["name"] for each in pod.container.get("env", [])}
    for part in WATTLAKE.values():
        names |= part["environment"].keys()
    assert names <= SETTINGS | OTHERS | OF_RAY


def commands() -> Iterator[list[str]]:
    for pod in PODS:
        container = pod.container
        if not pod.name.startswith("ray"):  # KubeRay starts these
            yield container["command"] if "command" in container else container["args"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "exec" in (asked := container.get(probe, {})):
                yield asked["exec"]["command"]
    for part in WATTLAKE.values():
        yield part["command"]
        if "test" in (check := part.get("healthcheck", {})):
            yield check["test"][1:]


@pytest.mark.parametrize("command", [*commands()], ids=" ".join)
def test_a_command_exists(command: list[str]) -> None:
    if command[:2] == ["python", "-m"]:
        assert find_spec(command[2])
    else:
        assert command[0] in entry_points(group="console_scripts").names
    # The one file that commands name, below the folder in which they start.
    if "-w" in command:
        assert command[command.index("-w") + 1] == "/app/workspace.yaml"
        assert "WORKDIR /app\nCOPY workspace.yaml ./\n" in IMAGE
        assert (REPOSITORY / "workspace.yaml").exists()
    assert "ENTRYPOINT" not in IMAGE  # which would be given the arguments of a run


def test_the_collector_is_asked_where_it_answers_and_has_time_to_end() -> None:
    (collector,) = (pod for pod in PODS if pod.name == "collector")
    container, routes = collector.container, {getattr(each, "path", "") for each in router.routes}
    settings = CollectorSettings(_env_file=None)
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert f"PORT={settings.port} " in IMAGE
    (service,) = (each for each in MANIFESTS if each["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "http"
        assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/healthz")
        assert asked["path"] in routes
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = pause + 2 * GRACEFUL_SECONDS + settings.last_flush_seconds
    assert collector.spec["terminationGracePeriodSeconds"] > needed


def test_dagster_is_asked_where_compose_asks_it() -> None:
    (webserver,) = (pod for pod in PODS if pod.name == "dagster-webserver")
    (daemon,) = (pod for pod in PODS if pod.name == "dagster-daemon")
    asked = webserver.container["livenessProbe"]["httpGet"]
    (port,) = webserver.container["ports"]
    assert port == {"name": asked["port"], "containerPort": 3001}
    *_, url = WATTLAKE["dagster-webserver"]["healthcheck"]["test"]
    assert url == f"http://127.0.0.1:{port['containerPort']}{asked['path']}"
    for pod in (webserver, daemon):
        assert pod.container["command"] == WATTLAKE[pod.name]["command"]
    *_, module = WATTLAKE["dagster-daemon"]["healthcheck"]["test"]
    assert daemon.container["livenessProbe"]["exec"]["command"] == ["python", "-m", module]


def test_dagster_is_configured_as_elsewhere_but_for_its_runs() -> None:
    (here,), (elsewhere,) = (
        load(KUBERNETES / "dagster/dagster.yaml"),
        load(REPOSITORY / "pipelines/dagster.yaml"),
    )
    assert here.pop("run_launcher")["class"] == "K8sRunLauncher"
    assert here.pop("compute_logs")["class"] == "NoOpComputeLogManager"
    assert here == elsewhere


def test_ray_has_the_version_of_the_image() -> None:
    lock = (REPOSITORY / "requirements-cluster.lock").read_text(encoding="utf-8")
    (cluster,) = (each for each in MANIFESTS if each["kind"] == "RayCluster")
    assert f"\nray=={cluster['spec']['rayVersion']} " in lock
    name = cluster["metadata"]["name"]
    assert LITERALS["RAY_ADDRESS"] == f"ray://{name}-head-svc:10001"
