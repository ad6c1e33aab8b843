"""Hashes of media: remembered by path, size and time, and never wrong."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.corpus import media


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    digest = media._digest

    def record(path: Path) -> str:
        names.append(path.name)
        return digest(path)

    monkeypatch.setattr(media, "_digest", record)
    return names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "corpus/deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.wav"):
        (tmp_path / "corpus" / name).write_bytes(name.encode())
    return tmp_path / "corpus"


PATHS = ["a.wav", "deep/b.wav"]
BOTH = {path: sha256(path.encode()) for path in PATHS}


def test_files_are_read_once(root: Path, tmp_path: Path, read: list[str]) -> None:
    memory = tmp_path / "kept/media.json"
    assert media.hashes(root, [*PATHS, "a.wav"], memory) == BOTH
    assert sorted(read) == ["a.wav", "b.wav"]
    assert media.hashes(root, PATHS, memory) == BOTH
    assert len(read) == 2
    assert [path.name for path in memory.parent.iterdir()] == ["media.json"]


def test_a_changed_file_is_read_again(root: Path, tmp_path: Path, read: list[str]) -> None:
    memory = tmp_path / "media.json"
    media.hashes(root, PATHS, memory)
    read.clear()
    file = root / "a.wav"
    before = file.stat()
    file.write_bytes(b"x.wav")  # of the same size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert media.hashes(root, PATHS, memory) == BOTH | {"a.wav": sha256(b"x.wav")}
    file.write_bytes(b"longer.wav")  # of the same time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert media.hashes(root, PATHS, memory) == BOTH | {"a.wav": sha256(b"longer.wav")}
    assert read == ["a.wav", "a.wav"]


def test_a_file_that_cannot_be_read_has_no_hash_and_is_tried_again(
    root: Path, tmp_path: Path
) -> None:
    memory = tmp_path / "media.json"
    (root / "folder.wav").mkdir()
    paths = [*PATHS, "gone.wav", "folder.wav"]
    assert media.hashes(root, paths, memory) == BOTH | {"gone.wav": "", "folder.wav": ""}
    (root / "gone.wav").write_bytes(b"back")
    assert media.hashes(root, paths, memory)["gone.wav"] == sha256(b"back")


def test_a_run_that_is_stopped_keeps_what_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:03d}.wav" for number in range(200)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    memory, digest = tmp_path / "kept/media.json", media._digest

    def stop_at_100(path: Path) -> str:
        if path.name == "100.wav":
            raise KeyboardInterrupt
        return digest(path)

    monkeypatch.setattr(media, "_digest", stop_at_100)
    with pytest.raises(KeyboardInterrupt):
        media.hashes(tmp_path, names, memory)
    assert sorted(json.loads(memory.read_text())) == [str(tmp_path / name) for name in names[:100]]


def test_what_is_gone_is_forgotten_and_other_corpora_are_not(root: Path, tmp_path: Path) -> None:
    memory, other = tmp_path / "media.json", tmp_path / "corpus-2"
    other.mkdir()
    (other / "c.wav").write_bytes(b"c")
    media.hashes(other, ["c.wav"], memory)
    media.hashes(root, PATHS, memory)
    (root / "a.wav").unlink()
    (root / "d.wav").write_bytes(b"d")
    media.hashes(root, ["deep/b.wav", "d.wav"], memory)
    known = json.loads(memory.read_text())
    assert sorted(known) == sorted(map(str, [other / "c.wav", root / "d.wav", root / "deep/b.wav"]))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": ["x", 1, "y"]}'])
def test_a_damaged_memory_is_no_memory(root: Path, tmp_path: Path, content: str) -> None:
    memory = tmp_path / "media.json"
    memory.write_text(content)
    assert media.hashes(root, PATHS, memory) == BOTH
    assert len(json.loads(memory.read_text())) == 2
