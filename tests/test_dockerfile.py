"""The Dockerfile: what gets into an image, and whose rights its processes have; Kubernetes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

DOCKERFILE = Path("Dockerfile").read_text(encoding="utf-8")
PAGE = Path("docs/clusters.md").read_text(encoding="utf-8")


def test_the_dockerfile_has_no_known_fault() -> None:
    found = subprocess.run(["hadolint", "Dockerfile"], capture_output=True, text=True, check=False)
    assert not found.returncode, found.stdout


def test_nothing_but_what_is_copied_is_sent_to_docker() -> None:
    lines = Path(".dockerignore").read_text(encoding="utf-8").split()
    everything, *admitted = lines[lines.index("*") :]
    assert everything == "*"
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert sorted(admitted) == sorted(f"!{name}" for line in copied for name in line.split())
    assert all(Path(name[1:]).is_file() for name in admitted)


def test_processes_of_a_container_have_no_rights_of_root() -> None:
    assert re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE) == [("1000", "1000")]


def test_the_resource_of_the_page_is_one_cluster() -> None:
    (block,) = re.findall(r"```yaml\n(apiVersion: .*?)```", PAGE, re.DOTALL)
    resource = yaml.safe_load(block)
    spec, name = resource["spec"], resource["metadata"]["name"]
    (scheduler,), (worker,) = (spec[part]["spec"]["containers"] for part in ("scheduler", "worker"))
    service = spec["scheduler"]["service"]
    assert scheduler["image"] == worker["image"]
    assert service["selector"]["dask.org/cluster-name"] == name
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert f'"tcp://{name}-scheduler:{ports["tcp-comm"]}"' in PAGE.replace("\n", " ")
    mounted = {mount["name"] for mount in worker["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["worker"]["spec"]["volumes"]}
