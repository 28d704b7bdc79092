"""The example for Kubernetes, held against what the server does. It is read here, not run."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from server import __version__
from server.auth.basic import hash_password
from server.cli import main
from server.processes.children import GRACE_S, STUCK_AFTER, WATCH_S
from server.settings import Settings
from tests.conftest import Serve
from tests.running import get
from tests.test_packaging import docker_steps, known_settings, read


def objects() -> dict[str, Any]:
    """By their kinds."""
    found = list(yaml.safe_load_all(read("config/kubernetes.yaml")))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    [only] = pod()["containers"]
    assert isinstance(only, dict)
    return only


def settings() -> Settings:
    """As the pod's environment sets them, with a URL where the secret's comes."""
    return known_settings({each["name"]: each.get("value", "rediss://redis:6379/0") for each in container()["env"]})


def test_replicas_that_serve_by_turns() -> None:
    spec = objects()["Deployment"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert objects()["PodDisruptionBudget"]["spec"]["maxUnavailable"] < spec["replicas"]
    labels = spec["template"]["metadata"]["labels"]
    selectors = [spec["selector"], objects()["PodDisruptionBudget"]["spec"]["selector"]]
    assert [each["matchLabels"] for each in selectors] == [labels, labels]
    assert objects()["Service"]["spec"]["selector"] == labels


def test_its_store_and_its_users_come_from_a_secret() -> None:
    names = {each["name"]: each for each in container()["env"]}
    store = names["CLEARSYNC_STORE__URL"]
    assert "value" not in store
    assert store["valueFrom"]["secretKeyRef"] == {"name": "clearsync", "key": "store-url"}
    [mount], [volume] = container()["volumeMounts"], pod()["volumes"]
    assert mount["name"] == volume["name"]
    assert volume["secret"]["secretName"] == "clearsync"
    [item] = volume["secret"]["items"]
    assert settings().auth.users_file == f"{mount['mountPath']}/{item['path']}"
    made = " ".join(line.strip("# \\") for line in read("config/kubernetes.yaml").splitlines() if line.startswith("#"))
    assert set(re.findall(r"--from-(?:literal|file)=([\w.-]+)", made)) == {"store-url", item["key"]}


def test_it_has_time_to_end_and_balancers_to_notice() -> None:
    server, ready, live = settings().server, container()["readinessProbe"], container()["livenessProbe"]
    assert server.drain_grace_s > ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"]
    assert pod()["terminationGracePeriodSeconds"] > server.drain_grace_s + server.drain_s + GRACE_S
    assert live["periodSeconds"] * live["failureThreshold"] > (STUCK_AFTER + 1) * WATCH_S, "first we repair it inside"


@pytest.mark.faults
def test_its_probes_are_answered(serve: Serve) -> None:
    paths = {probe: container()[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    assert paths == {"readinessProbe": "/ready", "livenessProbe": "/live"}
    with serve("--dev") as running:
        assert [get(running.url + path)[0] for path in paths.values()] == [200, 200]


def test_its_ports_lead_to_the_listener() -> None:
    [port] = container()["ports"]
    assert port["containerPort"] == settings().server.port
    [exposed] = [rest for name, rest in docker_steps() if name == "EXPOSE"]
    assert str(port["containerPort"]) == exposed
    [service] = objects()["Service"]["spec"]["ports"]
    probes = [container()[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")]
    assert [service["targetPort"], *probes] == [port["name"]] * 3


def test_what_it_starts_is_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beyond loopback it starts since a proxy that it believes ends TLS."""
    started: list[Settings] = []
    for each in container()["env"]:
        monkeypatch.setenv(each["name"], each.get("value", "rediss://redis:6379/0"))
    users = tmp_path / "users.toml"
    users.write_text(f'[users.ada]\nhash = "{hash_password("x")}"\ntenant = "acme"\n')
    monkeypatch.setenv("CLEARSYNC_AUTH__USERS_FILE", str(users))
    monkeypatch.setattr("server.processes.supervisor.serve", started.append)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(container()["args"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    [begun] = started
    assert begun.server.host == "0.0.0.0"
    assert not begun.insecure_http


def test_it_runs_as_the_image_does_and_may_do_nothing_else() -> None:
    [user] = [re.findall(r"--uid (\d+)", rest)[0] for name, rest in docker_steps() if "useradd" in rest]
    secured, mine = pod()["securityContext"], container()["securityContext"]
    assert (secured["runAsNonRoot"], secured["runAsUser"], secured["fsGroup"]) == (True, int(user), int(user))
    assert mine["readOnlyRootFilesystem"] is True
    assert mine["allowPrivilegeEscalation"] is False
    assert mine["capabilities"] == {"drop": ["ALL"]}
    assert container()["image"] == f"clearsync:{__version__}"
