"""Hashes of the media of a corpus, so that a copy is known by its content wherever it lies.

They are remembered in a file by path, size and time of modification: a run reads again only what
has changed. The file is of this machine and no output of a stage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from pipeline import InputError
from pipeline.system.filesystem import sha256, write_text

_Known = dict[str, tuple[int, int, str]]  # by path its size, its time and its hash

_SAVED_EVERY = 1 << 34  # bytes read, for a run that is killed
_THREADS = 8  # hashing lets other threads run; a disk far away answers several at once


def hashes(root: Path, paths: Iterable[str], memory: Path) -> dict[str, str]:
    """SHA-256 of media files, by their path below `root`.

    Parameters
    ----------
    root
        The corpus's folder.
    paths
        Below it.
    memory
        The file in which they are remembered.

    Returns
    -------
    dict
        Empty for a file that the system does not let read: who needs it says so.
    """
    folder = Path(os.path.abspath(root))  # noqa: PTH100  links are kept: a copy may move behind one
    known = _load(memory)
    found: dict[str, str] = {}
    changed: dict[str, os.stat_result] = {}
    for path in dict.fromkeys(paths):
        try:
            stat = (folder / path).stat()
        except OSError:
            found[path] = ""
            continue
        size, time, digest = known.get(str(folder / path), (-1, -1, ""))
        if (size, time) == (stat.st_size, stat.st_mtime_ns):
            found[path] = digest
        else:
            changed[path] = stat
    if changed:
        # what is gone is forgotten, of this corpus
        present = {str(folder / path) for path in (*found, *changed)}
        known = {
            path: entry
            for path, entry in known.items()
            if path in present or not path.startswith(f"{folder}{os.sep}")
        }
        found |= _read(folder, changed, known, memory)
    return found


def _read(
    folder: Path, changed: dict[str, os.stat_result], known: _Known, memory: Path
) -> dict[str, str]:
    """Hash files, and remember each of them, also of a run that is stopped."""
    found: dict[str, str] = {}
    total, unsaved = sum(stat.st_size for stat in changed.values()), 0
    pool = ThreadPoolExecutor(_THREADS)
    try:
        digests = pool.map(_digest, (folder / path for path in changed))
        with tqdm(total=total, desc="hash media", unit="B", unit_scale=True) as bar:
            for (path, stat), digest in zip(changed.items(), digests, strict=True):
                found[path] = digest
                if digest:
                    known[str(folder / path)] = (stat.st_size, stat.st_mtime_ns, digest)
                bar.update(stat.st_size)
                unsaved += stat.st_size
                if unsaved > _SAVED_EVERY:
                    _save(known, memory)
                    unsaved = 0
    finally:
        pool.shutdown(cancel_futures=True)
        _save(known, memory)
    return found


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except InputError:
        return ""


def _load(memory: Path) -> _Known:
    """What is remembered; nothing of a file that is missing or damaged."""
    try:
        raw = json.loads(memory.read_text(encoding="utf-8"))
        return {path: (int(size), int(time), str(d)) for path, (size, time, d) in raw.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _save(known: _Known, memory: Path) -> None:
    write_text(memory, json.dumps(known, ensure_ascii=True))
