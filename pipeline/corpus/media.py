"""Hashes of the media files of a corpus, so that a copy is identified by its content, not its path.

The hashes are cached in a file by path, size and modification time, so that only changed files are
read again. The cache belongs to this machine; it is not an output of a stage.
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

_Cache = dict[str, tuple[int, int, str]]  # size, modification time and hash by path

_SAVED_EVERY = 1 << 34  # bytes read; a killed run loses no more
_THREADS = 8  # hashing releases the GIL; a network disk serves several requests at once


def hashes(root: Path, paths: Iterable[str], memory: Path) -> dict[str, str]:
    """SHA-256 of media files by path.

    Parameters
    ----------
    root
        The folder of the corpus.
    paths
        Media files, relative to `root`.
    memory
        The file of the cache.

    Returns
    -------
    dict
        Hash by path; empty if the file cannot be read, which later stages report if they need it.
    """
    folder = Path(os.path.abspath(root))  # noqa: PTH100  keeps links, whose targets may move
    cache = _load(memory)
    digests: dict[str, str] = {}
    changed: dict[str, os.stat_result] = {}
    for path in dict.fromkeys(paths):
        try:
            stat = (folder / path).stat()
        except OSError:
            digests[path] = ""
            continue
        size, time, digest = cache.get(str(folder / path), (-1, -1, ""))
        if (size, time) == (stat.st_size, stat.st_mtime_ns):
            digests[path] = digest
        else:
            changed[path] = stat
    if changed:
        # drop entries of this corpus whose files no longer exist
        present = {str(folder / path) for path in (*digests, *changed)}
        cache = {
            path: entry
            for path, entry in cache.items()
            if path in present or not path.startswith(f"{folder}{os.sep}")
        }
        digests |= _read(folder, changed, cache, memory)
    return digests


def _read(
    folder: Path, changed: dict[str, os.stat_result], cache: _Cache, memory: Path
) -> dict[str, str]:
    """Hash files and add them to the cache, which is saved even if the run is stopped."""
    result: dict[str, str] = {}
    total, unsaved = sum(stat.st_size for stat in changed.values()), 0
    pool = ThreadPoolExecutor(_THREADS)
    try:
        digests = pool.map(_digest, (folder / path for path in changed))
        with tqdm(total=total, desc="hash media", unit="B", unit_scale=True) as bar:
            for (path, stat), digest in zip(changed.items(), digests, strict=True):
                result[path] = digest
                if digest:
                    cache[str(folder / path)] = (stat.st_size, stat.st_mtime_ns, digest)
                bar.update(stat.st_size)
                unsaved += stat.st_size
                if unsaved > _SAVED_EVERY:
                    _save(cache, memory)
                    unsaved = 0
    finally:
        pool.shutdown(cancel_futures=True)
        _save(cache, memory)
    return result


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except InputError:
        return ""


def _load(memory: Path) -> _Cache:
    """Read the cache; empty if its file is missing or damaged."""
    try:
        raw = json.loads(memory.read_text(encoding="utf-8"))
        return {path: (int(size), int(time), str(d)) for path, (size, time, d) in raw.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _save(cache: _Cache, memory: Path) -> None:
    write_text(memory, json.dumps(cache, ensure_ascii=True))
