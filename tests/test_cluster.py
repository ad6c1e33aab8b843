"""Tasks on a Dask cluster: bytes, lost workers, other code, and addresses.

The cluster is one of processes on this machine.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.synthetic import CONTEXT, Noise, Summary, Words, spoken, table
from pipeline import InputError, params
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor
from pipeline.params.cluster import Address, Queue
from pipeline.system import cluster as module
from pipeline.system.cluster import Cluster, connected
from pipeline.system.hdf5 import reading
from tests import remote
from tests.test_memory import GPU, Network

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
dask_config = pytest.importorskip("dask.config")


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        dask_config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(host="127.0.0.1", **options) as started,
    ):
        yield started


@pytest.fixture
def cluster(dask: Any) -> Iterator[Cluster]:
    with Cluster(Address(kind="address", scheduler=dask.scheduler_address)) as own:
        yield own


def extract_on(
    cluster: Cluster | None,
    streams: Mapping[str, Extractor],
    folder: Path,
    context: Context = CONTEXT,
) -> None:
    extract(
        "audio",
        streams,
        spoken(table()),
        context,
        kept=folder / "kept",
        output=folder / "out",
        cluster=cluster,
    )


def completed(cluster: Cluster, function: Any, tasks: list[Any]) -> list[Any]:
    return list(cluster.completed(function, tasks, name=str, size=lambda _: 1))


def test_the_bytes_are_those_of_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    streams = {"mfcc": Noise(), "summary": Summary(), "words": Words()}
    for name, own in (("here", None), ("there", cluster)):
        folder = tmp_path / name
        extract_on(own, streams, folder)
    for name in streams:
        here, there = (tmp_path / way / "out" / f"{name}.h5" for way in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()


def test_the_batch_size_is_one_that_fits_the_gpu_of_a_worker(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a pretended GPU; this process has none, and would fail in the trial."""
    monkeypatch.setattr(Network, "trial", lambda *_: pytest.fail("tried here"))
    extract_on(cluster, {"network": Network()}, tmp_path, GPU)
    with reading(tmp_path / "out/network.h5") as file:
        assert json.loads(file.attrs["provenance"])["batch_size"] == 4
    assert "network: batch_size 4, since 32 needs more memory" in capsys.readouterr().out


def test_a_second_run_finds_what_the_first_has_kept(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for _ in range(2):
        extract_on(cluster, {"mfcc": Noise()}, tmp_path)
    assert "computed 0, kept 5" in capsys.readouterr().out


def test_tasks_run_in_the_folder_of_this_process(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"task{n}" for n in range(6)]
    assert sorted(completed(cluster, remote.touch, names)) == names
    processes = {Path(name).read_text() for name in names}
    assert str(os.getpid()) not in processes and len(processes) == 2


def test_an_error_of_a_task_is_that_of_the_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^bad: is no task$"):
        completed(cluster, remote.fail, ["bad", *"abcdef"])


def test_a_task_that_ends_every_worker_is_named_and_the_others_are_finished(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^deadly: ended every worker that tried"):
        completed(cluster, remote.die, ["deadly", *"abcdef"])
    assert {path.name for path in tmp_path.iterdir()} == set("abcdef")


def test_a_lost_worker_loses_no_task(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sorted(completed(cluster, remote.die_once, list("abcd"))) == list("abcd")
    assert {path.name for path in tmp_path.iterdir()} == {*"abcd", "died"}


def test_a_disk_that_comes_back_costs_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(cluster, remote.lose_the_disk, ["a"]) == ["a"]
    assert Path("a").exists()


def test_the_largest_task_begins_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "processes": False}
    with (
        distributed.LocalCluster(**one) as started,
        Cluster(Address(kind="address", scheduler=started.scheduler_address)) as own,
    ):
        list(own.completed(remote.begin, ["3", "1", "5", "2", "4"], name=str, size=int))
    assert Path("order").read_text().split() == ["5", "4", "3", "2", "1"]


def test_a_worker_without_the_folder_or_with_other_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path.cwd()
    with pytest.raises(InputError, match="has other code of the pipeline"):
        module.run(lambda: None, str(tmp_path), "other")
    monkeypatch.setattr(module, "WAIT", 0)
    with pytest.raises(InputError, match="gone does not exist on this worker"):
        module.run(lambda: None, str(tmp_path / "gone"), module.fingerprint())
    os.chdir(before)


def test_a_disk_that_stays_away_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "WAIT", 1)
    start = time.monotonic()
    with pytest.raises(OSError, match="Input/output error"):
        module.run(lost, str(tmp_path), module.fingerprint())
    assert time.monotonic() - start >= 1


def test_devices_are_those_of_the_workers(cluster: Cluster) -> None:
    assert cluster.device("auto") == "cpu" and cluster.device("cuda") == "cuda"


def test_what_runs_where_is_told(cluster: Cluster) -> None:
    kept = cluster.client.submit(time.sleep, 8, key="Ses01F_impro01-0", pure=False)
    deadline = time.monotonic() + 60
    while "Ses01F_impro01 on 127.0.0.1" not in (told := cluster.running()):
        assert time.monotonic() < deadline, (told, kept)


def test_nothing_is_connected_without_a_task() -> None:
    with connected(None) as own:
        assert own is None
    with connected(Address(kind="address", scheduler="tcp://127.0.0.1:1")) as own:
        assert own is not None


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [("tcp://127.0.0.1:1", "no connection"), ("gone.json", "there is no file gone.json")],
)
def test_a_scheduler_that_is_not_there_is_a_sentence(
    scheduler: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT", 1)
    with (
        Cluster(Address(kind="address", scheduler=scheduler)) as own,
        pytest.raises(InputError, match=message),
    ):
        _ = own.client


def test_a_scheduler_file_is_an_address(dask: Any, tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(f'{{"address": "{dask.scheduler_address}"}}')
    with Cluster(Address(kind="address", scheduler=str(path))) as own:
        assert own.device("auto") == "cpu"


def test_a_scheduler_without_tls_on_the_network_is_warned_of(
    capsys: pytest.CaptureFixture,
) -> None:
    options = {"n_workers": 0, "dashboard_address": None, "host": "0.0.0.0"}
    with distributed.LocalCluster(**options) as started:
        port = started.scheduler_address.rpartition(":")[2]
        with Cluster(Address(kind="address", scheduler=f"tcp://0.0.0.0:{port}")) as own:
            _ = own.client
    assert "has no TLS" in capsys.readouterr().err


def test_tls_is_used_if_files_are_given(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    temporary = distributed.Security.temporary()
    files = {}
    for key, content in {
        "ca": temporary.tls_ca_file,
        "certificate": temporary.tls_client_cert,
        "key": temporary.tls_client_key,
    }.items():
        (tmp_path / key).write_text(content)
        files[key] = str(tmp_path / key)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(security=temporary, host="0.0.0.0", **options) as started:
        assert started.scheduler_address.startswith("tls://")
        given = {"kind": "address", "scheduler": started.scheduler_address, "tls": files}
        with Cluster(Address.model_validate(given)) as own:
            assert own.device("auto") == "cpu"
    assert "has no TLS" not in capsys.readouterr().err


def test_parameters_of_a_queue_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    made: dict[str, Any] = {}

    class Fake:
        def __init__(self, **options: Any) -> None:
            made.update(options)

        def scale(self, jobs: int) -> None:
            made["jobs"] = jobs

    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", Fake)
    raw = {"kind": "slurm", "jobs": 8, "queue": "gpu", "cores": 4, "memory": "16GB"}
    module._submitted(Queue.model_validate(raw))
    assert made["scheduler_options"]["dashboard_address"].startswith("127.0.0.1:")
    expected = {"queue": "gpu", "cores": 4, "memory": "16GB", "jobs": 8, "security": True}
    assert made.items() >= expected.items()


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge"])
def test_the_script_of_a_job_starts_an_encrypted_worker(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    raw = {"kind": kind, "jobs": 1, "queue": "gpu", "cores": 1, "memory": "8GB"}
    raw |= {"shared_temp_directory": str(tmp_path), "n_workers": 0}
    if kind == "lsf":
        raw |= {"ncpus": 1, "mem": 8 * 10**9}
    queue = Queue.model_validate(raw)
    import dask_jobqueue

    with pytest.MonkeyPatch.context() as patch:
        name = {"slurm": "SLURM", "pbs": "PBS", "lsf": "LSF", "sge": "SGE"}[kind]
        patch.setattr(getattr(dask_jobqueue, f"{name}Cluster"), "scale", lambda self, jobs: None)
        with module._submitted(queue) as jobs:
            script = jobs.job_script()
    assert "distributed.cli.dask_worker tls://" in script and "gpu" in script


@pytest.mark.parametrize(
    "raw",
    [
        {"kind": "address"},
        {"kind": "address", "scheduler": "tcp://a:1", "workers": 3},
        {"kind": "slurm"},
        {"kind": "slurm", "jobs": 0},
        {"kind": "cloud", "jobs": 1},
    ],
)
def test_invalid_parameters_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cluster"):
        params.Compute.model_validate(
            {"device": "auto", "workers": 0, "parallel_folds": 0, "cluster": raw}
        )


# --- the page -------------------------------------------------------------------------------------

PAGE = Path("docs/clusters.md")


def test_the_script_of_the_page_runs_the_pipeline_where_it_was_submitted(tmp_path: Path) -> None:
    script = PAGE.read_text(encoding="utf-8").partition("```sh\n#!")[2].partition("```")[0]
    (tmp_path / "repro.sbatch").write_text(f"#!{script}")
    program = tmp_path / ".venv/bin/dvc"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/bash\necho "$PWD $*"\n')
    program.chmod(0o755)
    found = subprocess.run(
        ["bash", "-eu", str(tmp_path / "repro.sbatch")],
        env={"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": os.environ["PATH"]},
        cwd="/",
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert found == f"{tmp_path} repro\n"
    options = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert len(options) == 4 and all(line.startswith("#SBATCH --") for line in options)


def test_the_parameters_of_the_page_are_valid() -> None:
    blocks = re.findall(
        r"```yaml\ncompute:\n  cluster: (.*)\n```", PAGE.read_text(encoding="utf-8")
    )
    assert len(blocks) == 2
    for block in blocks:
        raw = {
            "device": "auto",
            "workers": 0,
            "parallel_folds": 0,
            "cluster": yaml.safe_load(block),
        }
        assert params.Compute.model_validate(raw).cluster is not None
