"""The Kubernetes manifests, and the schemas of Kubernetes and compose, without a cluster or an engine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.settings import WebSettings, WorkerSettings

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "compose" / "kubernetes"
CHECKERS = ROOT / ".venv-compose" / "bin"
SECRET = {"SPOOL_REDIS_URL": "rediss://:secret@redis.example:6379/0", "SPOOL_API_KEYS": "alice=12345678"}

needs_checkers = pytest.mark.skipif(
    not CHECKERS.is_dir() and not os.environ.get("CI"), reason="`make faults` installs the checkers into .venv-compose"
)


def documents() -> Iterator[dict[str, Any]]:
    """Every object of the manifests."""
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))


def deployments() -> dict[str, dict[str, Any]]:
    """The specifications of the deployments, by name."""
    return {one["metadata"]["name"]: one["spec"] for one in documents() if one["kind"] == "Deployment"}


def container(name: str) -> dict[str, Any]:
    """The one container of a deployment."""
    (found,) = deployments()[name]["template"]["spec"]["containers"]
    return dict(found)


def environment(name: str) -> dict[str, str]:
    """The variables of a deployment's container."""
    custom = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    literals = [literal.split("=", 1) for map_ in custom["configMapGenerator"] for literal in map_["literals"]]
    return {**dict(literals), **SECRET, **{one["name"]: one["value"] for one in container(name)["env"]}}


def test_programs_accept_their_environment() -> None:
    """Settings are known and valid, and Kubernetes adds none of its own: a Service's would begin with SPOOL_."""
    assert all(one["template"]["spec"]["enableServiceLinks"] is False for one in deployments().values())
    WebSettings.read(environment("spool-web")).check_exposure()
    WorkerSettings.read(environment("spool-worker"))


def test_pods_have_time_to_drain() -> None:
    """A pod is killed only after preStop and its program's drain."""
    web, worker = (deployments()[name]["template"]["spec"] for name in ("spool-web", "spool-worker"))
    (_, pre_stop_s) = container("spool-web")["lifecycle"]["preStop"]["exec"]["command"]
    drain_s = WebSettings.read(environment("spool-web")).drain_s
    assert web["terminationGracePeriodSeconds"] > int(pre_stop_s) + drain_s + 10
    assert (
        worker["terminationGracePeriodSeconds"] > WorkerSettings.read(environment("spool-worker")).worker_drain_s + 10
    )


def test_pods_are_confined() -> None:
    """No root, no capability, no new privileges, a read-only root, a memory limit, no token of the cluster."""
    for name, deployment in deployments().items():
        pod = deployment["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        context = container(name)["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert container(name)["resources"]["limits"]["memory"]


def test_selectors_find_their_pods() -> None:
    """Every selector of a service, budget or policy matches the labels of one deployment's pods."""
    labels = [one["template"]["metadata"]["labels"] for one in deployments().values()]
    for one in documents():
        spec = one["spec"]
        selector = spec.get("podSelector") or spec.get("selector")
        if selector is not None:
            assert selector.get("matchLabels", selector) in labels, one
    kinds = {one["kind"] for one in documents()}
    assert kinds >= {"Deployment", "Service", "Ingress", "PodDisruptionBudget", "NetworkPolicy"}


def test_probes_do_not_depend_on_redis() -> None:
    """While Redis is away or full, webs stay in the service: they serve reads and say when to come back."""
    probes = [container("spool-web")[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/livez", "port": "http"}] * 3


@pytest.mark.slow  # `make faults`
@needs_checkers
@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_manifests_fit_the_schemas(version: str) -> None:
    """Every object fits Kubernetes' own schema, without an unknown field."""
    files = [str(path) for path in KUBERNETES.iterdir() if path.name != "kustomization.yaml"]
    command = [str(CHECKERS / "kubernetes-validate"), "--strict", "-k", version, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow  # `make faults`
@needs_checkers
def test_compose_fits_its_specification(tmp_path: Path) -> None:
    """compose.yaml has no unknown field and no value of a wrong type.

    The checker refuses a version beside a digest, which Docker accepts, so digests are left out."""
    text = (ROOT / "compose" / "compose.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "secret", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    parsed = yaml.safe_load(re.sub(r"@sha256:\w+", "", text))
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in parsed.items() if not name.startswith("x-")}))
    check = "import sys, compose_spec; compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()).validate()"
    done = subprocess.run(
        [str(CHECKERS / "python"), "-c", check, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
