"""Feature stores that travel through DVC remotes, and what of a licensed corpus never does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
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

from benchmarks import release
from pipeline import store
from pipeline.store import checking
from pipeline.system.torchvision_shim import torchvision_operators
from tests.clone import Checkout, Clone, stages_run

SENTENCE = "The quokka borrowed my theodolite before breakfast."
WORDS = ("quokka", "borrowed", "theodolite")  # spelt by no other file of the project
STORE = Path("data/features/licensed")
STREAMS = ("audio/mfcc", "audio/prosody", "text/bert", "text/glove", "visual/resnet")
FILES = ("store.h5", *(f"{stream}.h5" for stream in STREAMS))
STAGES = ("audio", "text", "visual", "store")  # all that training reads
ROOT = Path("data/raw/IEMOCAP_full_release")
WEIGHTS = Path("data/weights")
RESNET = f"{WEIGHTS}/resnet18.pt"
CODES = ("ang", "hap", "sad", "neu")
# what a machine without the corpus needs; docs/sharing.md
FROM_THE_STORE = ("--pull", "--allow-missing")

pytestmark = pytest.mark.slow


class Machine(Checkout):
    """A checkout whose parameters change and whose features are shared."""

    def change(self, streams: dict[str, dict[str, Any]] | None = None, **groups: Any) -> None:
        """Set keys of params.yaml by group, and parameters of streams by name."""
        path = self.folder / "params.yaml"
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group, values in groups.items():
            raw[group] |= values
        for group in ("audio", "text", "visual"):
            for name, values in (streams or {}).items():
                if name in raw[group]["streams"]:
                    raw[group]["streams"][name] |= values
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")

    def reproduce(self) -> None:
        """Run what has changed, and commit."""
        self.run("dvc", "repro")
        self.commit()

    def share(self, name: str, url: str, *outputs: str, **options: str) -> None:
        """Push outputs, or all, to a new remote whose configuration git carries to clones."""
        self.run("dvc", "remote", "add", "--default", name, url)
        for key, value in options.items():
            self.run("dvc", "remote", "modify", name, key, value)
        self.commit()
        self.run("dvc", "push", *outputs)

    def commit(self) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state")


def machine_a(folder: Path) -> Machine:
    """A clone with a licensed corpus in the release's layout, its weights and its vectors."""
    Clone(folder)
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        turns = [
            release.Utterance(turn.name, turn.start, turn.end, code, SENTENCE)
            for turn, code in zip(release.turns(dialog, len(CODES)), CODES, strict=True)
        ]
        release.add_dialog(folder / ROOT, dialog, turns)
    _write_weights(folder / WEIGHTS)
    machine = Machine(folder)
    machine.change(
        streams={"glove": {"vectors": f"{WEIGHTS}/glove.txt"}, "resnet": {"weights": RESNET}},
        corpus={"name": "licensed", "root": ROOT.as_posix()},
        text={"include_text": False},
        labels={"scheme": "four"},
        split={"protocol": "random", "folds": 3},
        model={"streams": {"audio": "mfcc", "text": "glove", "video": "resnet"}, "hops": 1},
        train={"epochs": 1},
        compute={"device": "cpu", "workers": 1, "parallel_folds": 1},
    )
    return machine


def machine_b(folder: Path, owner: Machine) -> Machine:
    """A fresh clone by git, so without corpus, weights and features."""
    owner.run("git", "clone", "-q", str(owner.folder), str(folder))
    assert not (folder / "data/raw").exists() and not (folder / WEIGHTS).exists()
    return Machine(folder)


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
def owner(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Machine A with a store without text, trained and evaluated."""
    owner = machine_a(tmp_path_factory.mktemp("owner"))
    owner.reproduce()
    return owner


def md5(path: Path) -> str:
    """MD5 of a file's bytes, which DVC names files by."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def pushed(remote: Path) -> dict[str, bytes]:
    """Content of each object of a folder remote, by the MD5 of its bytes."""
    contents = [path.read_bytes() for path in remote.rglob("*") if path.is_file()]
    assert contents
    return {hashlib.md5(content).hexdigest(): content for content in contents}


def spelling(objects: dict[str, bytes]) -> set[str]:
    """Objects that hold the sentence or one of its rare words."""
    pattern = re.compile("|".join(WORDS).encode(), re.IGNORECASE)
    return {name for name, content in objects.items() if pattern.search(content)}


def licensed(machine: Machine) -> set[str]:
    """MD5 of each recording, video, label file, transcript, of weights, vectors and tables."""
    folders = (ROOT, WEIGHTS, Path("data/interim"))
    files = [
        path
        for folder in folders
        for path in (machine.folder / folder).rglob("*")
        if path.is_file() and path.suffix != ".json" and "kept" not in path.parts
    ]
    assert {".wav", ".avi", ".txt", ".pt", ".csv"} <= {path.suffix for path in files}
    return {md5(path) for path in files}


def test_a_colleague_trains_from_the_store_alone(owner: Machine, tmp_path: Path) -> None:
    owner.share("folder", str(tmp_path / "remote"))
    colleague = machine_b(tmp_path / "elsewhere/clone", owner)
    colleague.run("dvc", "pull", f"{STORE}/audio/mfcc.h5")
    assert [path.name for path in (colleague.folder / STORE).rglob("*.h5")] == ["mfcc.h5"]
    arrives(owner, colleague)
    assert checking.verify(colleague.folder / STORE) == []

    printed = colleague.run("dvc", "repro", *FROM_THE_STORE)
    assert "up to date" in printed and not stages_run(printed)
    # features made elsewhere differ between the machines, since nothing carries them
    made_elsewhere = colleague.folder / "data/external/wav2vec.h5"
    made_elsewhere.touch()
    alone = ("--single-item", "train", "evaluate")
    printed = colleague.run("dvc", "repro", *FROM_THE_STORE, *alone)
    assert "up to date" in printed and not stages_run(printed)
    made_elsewhere.unlink()

    printed = colleague.run("dvc", "exp", "run", *FROM_THE_STORE, "-S", "model.hops=2")
    assert stages_run(printed) == ["train", "evaluate"]
    model = json.loads((colleague.folder / "models/parameters.json").read_text(encoding="utf-8"))
    assert model["model"]["hops"] == 2
    assert (colleague.folder / "results/report.html").is_file()
    colleague.run("git", "checkout", "--", ".")
    colleague.run("dvc", "pull", "--allow-missing", "--force")
    for name in ("models/parameters.json", "results/predictions.csv"):
        assert (colleague.folder / name).read_bytes() == (owner.folder / name).read_bytes()
    # the report never travels, so it is made here
    printed = colleague.run("dvc", "repro", "--pull", "--single-item", "evaluate")
    assert stages_run(printed) == ["evaluate"]


def test_nothing_licensed_is_pushed_and_no_word_without_text(
    owner: Machine, tmp_path: Path
) -> None:
    owner.share("bare", str(tmp_path / "remote"))
    objects = pushed(tmp_path / "remote")
    # the store is among them, so the search is not of nothing
    assert {md5(owner.folder / STORE / file) for file in FILES} <= objects.keys()
    assert not licensed(owner) & objects.keys()
    assert not spelling(objects)
    # nor does git carry any; the tests name the words themselves
    words = [option for word in WORDS for option in ("-e", word)]
    owner.run("git", "grep", "-il", *words, "--", ":!tests", fails=True)


def test_without_text_words_are_shown_by_number(owner: Machine) -> None:
    with store.FeatureStore(owner.folder / STORE) as opened:
        for stream in map(opened.stream, ("glove", "bert")):
            assert all(re.fullmatch(r"#\d+", word) for word in stream.words(0))
    page = (owner.folder / "results/report.html").read_text(encoding="utf-8")
    assert page.count("<h3>") >= len(CODES)
    assert not any(word in page for word in WORDS)


def test_where_text_is_included_only_table_text_streams_and_models_spell_it(
    owner: Machine, tmp_path: Path
) -> None:
    shutil.copytree(owner.folder, tmp_path / "clone", symlinks=True)
    with_text = Machine(tmp_path / "clone")
    with_text.change(text={"include_text": True})
    with_text.reproduce()
    for output in ("results/predictions.csv", "results/attention.h5"):
        assert with_text.hashes()[output] == owner.hashes()[output]
    assert SENTENCE in (with_text.folder / "results/report.html").read_text(encoding="utf-8")

    with_text.share("texts", str(tmp_path / "remote"))
    objects = pushed(tmp_path / "remote")
    assert SENTENCE.encode() in objects[md5(with_text.folder / STORE / "store.h5")]
    spelt = [with_text.folder / STORE / f for f in ("store.h5", "text/bert.h5", "text/glove.h5")]
    # models of token ids have their vocabulary, the words without their sentences
    trained = sorted((with_text.folder / "models").glob("fold-*.safetensors"))
    assert spelling(objects) == set(map(md5, [*spelt, *trained]))
    assert all(SENTENCE.encode() not in path.read_bytes() for path in trained)
    assert not licensed(with_text) & objects.keys()


def test_a_corpus_outside_the_embedded_one_is_no_output() -> None:
    outputs: dict[str, dict[str, Any]] = {}
    graphs = [
        yaml.safe_load((Path(__file__).parents[1] / name).read_text(encoding="utf-8"))
        for name in ("dvc.yaml", "embedded/dvc.yaml")
    ]
    for stage in (stage for graph in graphs for stage in graph["stages"].values()):
        for output in (*stage.get("outs", ()), *stage.get("metrics", ())):
            outputs |= output if isinstance(output, dict) else {output: {}}
    assert [name for name in outputs if name.startswith(("data/raw", "${corpus.root}"))] == [
        "data/raw/embedded"
    ]
    # nobody's property, and without it a colleague's DVC stops at the default corpus
    assert outputs["data/raw/embedded"].get("push", True)


def arrives(owner: Machine, colleague: Machine) -> None:
    """Pull the store into a clone, and compare its bytes."""
    colleague.run("dvc", "pull", *STAGES)
    for file in FILES:
        found, sent = (machine.folder / STORE / file for machine in (colleague, owner))
        assert found.read_bytes() == sent.read_bytes()


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


@pytest.mark.transport
def test_a_store_travels_by_s3(
    owner: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with s3_server() as address:
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="lab")
        owner.share("s3", "s3://lab/features", *STAGES, endpointurl=address)
        arrives(owner, machine_b(tmp_path / "clone", owner))


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


@pytest.mark.transport
def test_a_store_travels_by_ssh(owner: Machine, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "served").mkdir()
    with ssh_server(tmp_path / "served", key) as port:
        url = f"ssh://someone@127.0.0.1:{port}/features"
        owner.share("ssh", url, *STAGES, keyfile=str(tmp_path / "key"))
        arrives(owner, machine_b(tmp_path / "clone", owner))
    assert any(path.is_file() for path in (tmp_path / "served/features").rglob("*"))
