"""Files of pretrained weights: located or downloaded, hashed, recorded, and checked.

The stage `weights` records the SHA-256 of every file in one JSON file per modality. The stages that
load the weights depend on these files and compare them with the present weights. So the lock of a
stage identifies its weights by content, and not by a path or a name whose content may change.

This module imports torch only for a ResNet from torchvision's catalogue.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import InputError
from pipeline.system.filesystem import sha256, unreadable, write_text

Identity = dict[str, dict[str, str]]  # SHA-256 by stream and file

RANDOM = "random"
REVISION = "revision"  # beside the files of a stream: the commit on the hub, recorded, not compared
STATE_DICT_ENDINGS = (".safetensors", ".pth", ".pt")

_TIMEOUT = 20.0  # seconds for a server to answer


class WeightsError(InputError):
    """Weights that are missing or do not fit; the message says which parameter to set."""


def record(modalities: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Locate or download the weights of all extractors, and write their hashes into `folder`.

    ``<modality>.json`` has the SHA-256 of each file, by stream and file name; for random weights it
    has ``random`` and the name of the network. There is one file per modality, so that a change of
    the ResNet does not make the text stage run again.

    Parameters
    ----------
    modalities
        The extractors by stream, for ``audio``, ``text`` and ``visual``.

    Raises
    ------
    WeightsError
        If files are missing; the message names all of them, and how to get them.
    """
    identities: dict[str, Identity] = {modality: {} for modality in modalities}
    faults = []
    for modality, streams in modalities.items():
        for name, extractor in streams.items():
            try:
                with of_stream(modality, name):
                    identities[modality][name] = extractor.files() | extractor.origin()
            except WeightsError as error:
                faults.append(str(error))
    if faults:
        raise WeightsError("\n".join(faults))
    for modality, identity in identities.items():
        content = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        write_text(folder / f"{modality}.json", content)


def check(path: Path, streams: Mapping[str, Any]) -> None:
    """Compare the weights of a modality's streams with those that :func:`record` recorded.

    Parameters
    ----------
    path
        The file that :func:`record` wrote for the modality.
    streams
        The extractors, by stream.

    Raises
    ------
    WeightsError
        If the files differ; the message names the first one that does.
    """
    remedy = "`dvc repro --force --single-item weights` records the present ones"
    try:
        recorded: Identity = json.loads(path.read_text(encoding="utf-8"))
        before = {
            (name, file): str(sha)
            for name in recorded
            for file, sha in recorded[name].items()
            if file != REVISION
        }
    except (FileNotFoundError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: is not a record of weights ({error!r}); {remedy}") from error
    except OSError as error:
        raise WeightsError(unreadable(path, error)) from error
    now: dict[tuple[str, str], str] = {}
    for name, extractor in streams.items():
        with of_stream(path.stem, name):
            now |= {(name, file): sha for file, sha in extractor.files().items()}
    for name, file in sorted(now.keys() | before.keys()):
        old, new = before.get((name, file), "missing"), now.get((name, file), "missing")
        if old != new:
            raise WeightsError(
                f"{path}: the weights of {name} are not those recorded: {file} was {old[:12]}, is "
                f"{new[:12]}. If this is intended, {remedy}; otherwise restore the recorded file"
            )


@contextmanager
def of_stream(modality: str, stream: str) -> Iterator[None]:
    """Prefix the errors of an extractor with its stream, as in ``text.streams.glove.vectors: ...``.

    Raises
    ------
    WeightsError
        In place of any :class:`InputError`.
    """
    try:
        yield
    except InputError as error:
        raise WeightsError(f"{modality}.streams.{stream}.{error}") from error


def hashes(parameter: str, paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its name.

    Raises
    ------
    WeightsError
        If one cannot be read; the message begins with `parameter`.
    """
    try:
        return {path.name: _sha256(path) for path in paths}
    except InputError as error:
        raise WeightsError(f"{parameter}: {error}") from error


def _sha256(path: Path) -> str:
    """SHA-256 of a file; cached until its size or modification time changes."""
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    return _of_content(path, stat.st_size, stat.st_mtime_ns)


@cache
def _of_content(path: Path, size: int, changed: int) -> str:
    return sha256(path)


# --- ResNet --------------------------------------------------------------------------------------


def resnet_file(network: str, weights: str) -> Path:
    """The path of a state-dict file, or of the file that torchvision has for a weight name.

    torchvision's file is downloaded unless it is in torch's cache.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or the download fails; the message says how to get it.
    """
    if weights.endswith(STATE_DICT_ENDINGS):
        if not Path(weights).is_file():
            raise WeightsError(
                f"weights: {weights} is missing; put a state dict of {network} there, or "
                "set weights to its path or to a torchvision weight name"
            )
        return Path(weights)
    entry = catalogue_entry(network, weights)
    import torch

    name = entry.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    prefix = name.rsplit(".", 1)[0].rsplit("-", 1)[-1]  # resnet101-cd907fc2.pth
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _timeout():
                torch.hub.download_url_to_file(entry.url, str(path), hash_prefix=prefix)
        if not _sha256(path).startswith(prefix):
            raise OSError(
                f"the file at {path} is damaged: its SHA-256 does not begin with {prefix}"
            )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"weights: {name} is not available: {error}\n"
            f"Fetch {entry.url} ({entry.meta['_file_size']:.0f} MiB) by hand and put it at "
            f"{path} (instead of a damaged copy that may lie there), or anywhere else and set "
            "weights to its path."
        ) from error
    return path


def catalogue_entry(network: str, name: str) -> Any:
    """Torchvision's catalogue entry of weights.

    Raises
    ------
    WeightsError
        If there is none of this name; the message lists the names.
    """
    from pipeline.system.torchvision_shim import torchvision_operators

    torchvision_operators()
    from torchvision import models

    entries = models.get_model_weights(network)
    names = [entry.name for entry in entries]
    if name not in names:
        raise WeightsError(
            f"weights: torchvision has no {name!r} for {network}; allowed are "
            f"{', '.join(names)}, a state-dict file ({', '.join(STATE_DICT_ENDINGS)}) and, for the "
            f"embedded corpus only, {RANDOM}"
        )
    return entries[name]


@contextmanager
def _timeout() -> Iterator[None]:
    """Set a timeout for torch's downloads, which have none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
