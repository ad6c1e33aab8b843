"""Feature stores that travel through DVC remotes, and what of a licensed corpus never does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import boto3
import numpy as np
import pytest
import torch
import yaml
from moto.server import ThreadedMotoServer

from pipeline import store
from pipeline.torchvision_shim import torchvision_operators
from tests import release
from tests.test_pipeline import Clone, stages_run

SENTENCE = "The quokka borrowed my theodolite before breakfast."
WORDS = ("quokka", "borrowed", "theodolite")  # spelt by no other file of the project
STORE = "data/features/licensed.h5"
ROOT = Path("data/raw/IEMOCAP_full_release")
WEIGHTS = Path("data/weights")
CODES = ("ang", "hap", "sad", "neu")
# what a machine without the corpus needs; docs/sharing.md
FROM_THE_STORE = ("--pull", "--allow-missing")

pytestmark = pytest.mark.slow


class Owner(Clone):
    """Machine A: holds a licensed corpus in the release's layout, with its weights and vectors."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for session in range(1, 6):
            dialog = f"Ses0{session}F_impro01"
            turns = [
                release.Utterance(turn.name, turn.start, turn.end, code, SENTENCE)
                for turn, code in zip(release.turns(dialog, len(CODES)), CODES, strict=True)
            ]
            release.add_dialog(folder / ROOT, dialog, turns)
        _write_weights(folder / WEIGHTS)
        self.change(
            corpus={"name": "licensed", "root": ROOT.as_posix()},
            text={"glove": f"{WEIGHTS}/glove.txt"},
            visual={"weights": f"{WEIGHTS}/resnet18.pt"},
            store={"include_text": False},
            labels={"scheme": "four"},
            split={"protocol": "random", "folds": 3},
            model={"streams": {"audio": "mfcc", "text": "glove", "video": "resnet"}, "hops": 1},
            train={"epochs": 1},
            compute={"device": "cpu", "workers": 1},
        )

    def change(self, **groups: dict[str, Any]) -> None:
        """Set keys of params.yaml by group."""
        path = self.folder / "params.yaml"
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group, values in groups.items():
            raw[group] |= values
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")

    def reproduce(self) -> None:
        """Run all but the embedded corpus, which nothing here reads, and commit."""
        self.run("dvc", "repro", "evaluate")
        self.commit()

    def add_remote(self, name: str, url: str, **options: str) -> None:
        """Add a DVC remote and commit its configuration, so that clones know it."""
        self.run("dvc", "remote", "add", "--force", "--default", name, url)
        for key, value in options.items():
            self.run("dvc", "remote", "modify", name, key, value)
        self.commit()

    def commit(self) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state")


class Colleague(Clone):
    """Machine B: a fresh clone by git, so without corpus, weights and features."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self.folder = folder
        owner.run("git", "clone", "-q", str(owner.folder), str(folder))


def _write_weights(folder: Path) -> None:
    torchvision_operators()
    import torchvision  # only after the declarations

    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18.pt")
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), 300)).round(3)
    lines = [
        " ".join([word, *map(str, vector)]) for word, vector in zip(WORDS, vectors, strict=True)
    ]
    (folder / "glove.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """Machine A with a store without text, trained and evaluated; nothing pushed yet."""
    owner = Owner(tmp_path_factory.mktemp("owner"))
    owner.reproduce()
    return owner


def pushed(remote: Path) -> dict[str, bytes]:
    """Content of each object of a folder remote, by the MD5 of its bytes."""
    contents = [path.read_bytes() for path in remote.rglob("*") if path.is_file()]
    assert contents
    return {hashlib.md5(content).hexdigest(): content for content in contents}


def spelling(objects: dict[str, bytes]) -> set[str]:
    """Objects that hold the sentence or one of its rare words."""
    pattern = re.compile("|".join(WORDS).encode(), re.IGNORECASE)
    return {md5 for md5, content in objects.items() if pattern.search(content)}


def licensed(owner: Owner) -> set[str]:
    """MD5 of each recording, video, label file, transcript, of weights, vectors and tables."""
    folders = (ROOT, WEIGHTS, Path("data/interim"))
    files = [
        path
        for folder in folders
        for path in (owner.folder / folder).rglob("*")
        if path.is_file() and path.suffix != ".json"
    ]
    assert {".wav", ".avi", ".txt", ".pt", ".csv", ".h5"} <= {path.suffix for path in files}
    return {hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_a_colleague_trains_from_the_store_alone(owner: Owner, tmp_path: Path) -> None:
    owner.add_remote("lab", str(tmp_path / "remote"))
    owner.run("dvc", "push")
    colleague = Colleague(tmp_path / "elsewhere/clone", owner)
    assert not (colleague.folder / "data/raw").exists()
    colleague.run("dvc", "pull", STORE)
    assert (colleague.folder / STORE).read_bytes() == (owner.folder / STORE).read_bytes()
    assert store.verify(colleague.folder / STORE) == []

    assert "up to date" in colleague.run("dvc", "repro", *FROM_THE_STORE)
    for name in ("models", "results/predictions.csv"):
        assert (colleague.folder / name).exists()

    printed = colleague.run("dvc", "exp", "run", *FROM_THE_STORE, "-S", "model.hops=2")
    assert stages_run(printed) == ["train", "evaluate"]
    model = json.loads((colleague.folder / "models/parameters.json").read_text(encoding="utf-8"))
    assert model["model"]["hops"] == 2
    assert (colleague.folder / "results/report.html").is_file()


def test_nothing_licensed_is_pushed_and_no_word_without_text(owner: Owner, tmp_path: Path) -> None:
    owner.add_remote("lab", str(tmp_path / "remote"))
    owner.run("dvc", "push")
    objects = pushed(tmp_path / "remote")
    # the store is among them, so the search is not of nothing
    assert hashlib.md5((owner.folder / STORE).read_bytes()).hexdigest() in objects
    assert not licensed(owner) & objects.keys()
    assert not spelling(objects)
    # nor does git carry any; the tests name the words themselves
    words = [option for word in WORDS for option in ("-e", word)]
    owner.run("git", "grep", "-il", *words, "--", ":!tests", fails=True)


def test_only_the_store_spells_words_where_text_is_included(owner: Owner, tmp_path: Path) -> None:
    owner.change(store={"include_text": True})
    owner.reproduce()
    owner.add_remote("lab", str(tmp_path / "remote"))
    owner.run("dvc", "push")
    objects = pushed(tmp_path / "remote")
    content = (owner.folder / STORE).read_bytes()
    assert SENTENCE.encode() in content
    assert spelling(objects) == {hashlib.md5(content).hexdigest()}
    assert not licensed(owner) & objects.keys()
    owner.change(store={"include_text": False})
    owner.reproduce()


def test_a_corpus_outside_the_embedded_one_is_no_output() -> None:
    graph = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text(encoding="utf-8"))
    outputs: dict[str, dict[str, Any]] = {}
    for stage in graph["stages"].values():
        for output in (*stage.get("outs", ()), *stage.get("metrics", ())):
            outputs |= output if isinstance(output, dict) else {output: {}}
    assert [name for name in outputs if name.startswith(("data/raw", "${corpus.root}"))] == [
        "data/raw/embedded"
    ]
    assert outputs["data/raw/embedded"] == {"push": False}


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server on loopback; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_a_store_travels_by_s3(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with s3_server() as address:
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="lab")
        owner.add_remote("lab", "s3://lab/features", endpointurl=address)
        travels(owner, tmp_path / "clone")


@contextmanager
def ssh_server(folder: Path, key: asyncssh.SSHKey) -> Iterator[int]:
    """An SFTP server of a folder on loopback, for the holder of a key; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=asyncssh.import_authorized_keys(
                key.export_public_key().decode()
            ),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )

    async def close(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        await server.wait_closed()

    try:
        server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
        yield server.get_port()
        asyncio.run_coroutine_threadsafe(close(server), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_store_travels_by_ssh(owner: Owner, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "served").mkdir()
    with ssh_server(tmp_path / "served", key) as port:
        url = f"ssh://someone@127.0.0.1:{port}/features"
        owner.add_remote("lab", url, keyfile=str(tmp_path / "key"))
        travels(owner, tmp_path / "clone")
    assert any(path.is_file() for path in (tmp_path / "served/features").rglob("*"))


def travels(owner: Owner, clone: Path) -> None:
    """Push the store, pull it into a fresh clone, and compare its bytes."""
    owner.run("dvc", "push", STORE)
    colleague = Colleague(clone, owner)
    colleague.run("dvc", "pull", STORE)
    assert (clone / STORE).read_bytes() == (owner.folder / STORE).read_bytes()
