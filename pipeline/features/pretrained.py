"""Pretrained weights as inputs with an identity: found or downloaded, hashed, recorded, checked.

The stage `weights` records the SHA-256 of every file in one small JSON file per modality, which the
stage that loads it depends on and checks it against. So the lock of each names the weights exactly,
though a catalogue's name or a file's path stays the same when the content behind it changes.

Nothing here loads torch, unless a ResNet comes from torchvision's catalogue.
"""

from __future__ import annotations

import importlib.util
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipeline import InputError
from pipeline.system.filesystem import sha256, unreadable, write_text

Identity = dict[str, dict[str, str]]  # SHA-256 by stream and file

RANDOM = "random"
STATE_DICT_ENDINGS = (".safetensors", ".pth", ".pt")

_BERT_WEIGHTS = ("*.safetensors", "pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "vocab*")
_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt")
_HUB_FILES = [*_SETTINGS, *_TOKENIZER, "*.safetensors"]  # not the same weights twice

_PATIENCE = 20.0  # seconds for a server to answer


class WeightsError(InputError):
    """Weights that do not exist or do not fit; the message says which parameter to set."""


def record(modalities: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Find, or download, all that the extractors load, and write its identity into `folder`.

    ``<modality>.json`` holds the SHA-256 of each file by name and stream; of random weights the
    network's name with ``random``. It is one file per modality, so that another ResNet leaves the
    text alone.

    Parameters
    ----------
    modalities
        The extractors by stream, of ``audio``, ``text`` and ``visual``.

    Raises
    ------
    WeightsError
        If anything is missing; the message names all of it, and how to fetch each.
    """
    found: dict[str, Identity] = {}
    faults = []
    for modality, streams in modalities.items():
        found[modality] = {}
        for name, extractor in streams.items():
            try:
                with of_stream(modality, name):
                    found[modality][name] = extractor.files()
            except WeightsError as error:
                faults.append(str(error))
    if faults:
        raise WeightsError("\n".join(faults))
    for modality, identity in found.items():
        content = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        write_text(folder / f"{modality}.json", content)


def check(path: Path, streams: Mapping[str, Any]) -> None:
    """Compare the weights of a modality's streams with what :func:`record` wrote about them.

    Parameters
    ----------
    path
        The modality's file that :func:`record` wrote.
    streams
        The extractors, by stream.

    Raises
    ------
    WeightsError
        If they are not the same files; the message names the first that differs.
    """
    remedy = "`dvc repro --force --single-item weights` records the present ones"
    try:
        recorded: Identity = json.loads(path.read_text(encoding="utf-8"))
        before = {
            (name, file): str(sha) for name in recorded for file, sha in recorded[name].items()
        }
    except (FileNotFoundError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: is no record of weights ({error!r}); {remedy}") from error
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
                f"{new[:12]}. If that is meant, {remedy}; else put the recorded file back"
            )


@contextmanager
def of_stream(modality: str, stream: str) -> Iterator[None]:
    """Complete the parameter that an extractor's error begins with: ``text.streams.glove.vectors``.

    Raises
    ------
    WeightsError
        In the place of any :class:`InputError`.
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
        If the system does not let read one; begins with `parameter`.
    """
    try:
        return {path.name: _sha256(path) for path in paths}
    except InputError as error:
        raise WeightsError(f"{parameter}: {error}") from error


def _sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, computed once as long as its size and time are the same.

    Raises
    ------
    InputError
        If the system does not let read it.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    return _of_content(path, stat.st_size, stat.st_mtime_ns)


@cache
def _of_content(path: Path, size: int, changed: int) -> str:
    return sha256(path)


# --- BERT ----------------------------------------------------------------------------------------


def bert_identity(name: str) -> dict[str, str]:
    """SHA-256 of each file, by name, of the BERT of a name.

    Raises
    ------
    WeightsError
        As :func:`bert_folder` and :func:`hashes`.
    """
    files = _matching(bert_folder(name), [*_SETTINGS, *_TOKENIZER, *_BERT_WEIGHTS])
    return hashes("model", files)


def bert_folder(name: str) -> Path:
    """Locate the BERT of a name.

    Parameters
    ----------
    name
        A folder, ``package:<module>/<folder>`` of an installed package, or a name of the Hugging
        Face hub, which is fetched into its cache unless it is there.

    Raises
    ------
    WeightsError
        If there is no model; the message says what to fetch and where to put it.
    """
    try:
        if name.startswith("package:"):
            return _complete(_package_folder(name.removeprefix("package:")))
        if Path(name).is_dir():
            return _complete(Path(name))
        return _hub_folder(name)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"model: {unreadable(Path(name), error)}") from error
        is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)
        model = name if is_name else "google-bert/bert-base-uncased"
        local = f"data/weights/{Path(model).name}"
        raise WeightsError(
            f"model: there is no BERT at {name}: {error}\n"
            f"Fetch config.json, model.safetensors (440 MB for a base model, 1.3 GB for a large "
            f"one), tokenizer.json or vocab.txt, and tokenizer_config.json of "
            f"https://huggingface.co/{model} by hand (with a network: hf download {model} "
            f"--local-dir {local}), put them into a folder such as {local} and set model to "
            "it. It may also be a model name of the hub, or package:<module>/<folder>."
        ) from error


def _package_folder(name: str) -> Path:
    module, _, inside = name.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"there is no package {module}")
    return Path(spec.submodule_search_locations[0]) / inside


def _hub_folder(name: str) -> Path:
    """Folder of a hub's model in its cache; what is there is used as it is, not updated."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError

    fetch = partial(snapshot_download, name, allow_patterns=_HUB_FILES)
    try:
        return _complete(Path(fetch(local_files_only=True)))
    except HFValidationError as error:
        raise ValueError("no such folder, and no name of the Hugging Face hub") from error
    except OSError:
        pass  # not there, or not all of it
    try:
        # the download itself waits without end, and repeats itself
        HfApi().model_info(name, timeout=_PATIENCE)
        return _complete(Path(fetch()))
    except Exception as error:  # of the hub or of the HTTP library that its version uses
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"the Hugging Face hub does not give it ({reason[0]})") from error


def _complete(folder: Path) -> Path:
    """Return `folder` if it holds a model."""
    for kind in (["config.json"], _BERT_WEIGHTS, _TOKENIZER):
        if not _matching(folder, kind):
            raise FileNotFoundError(f"it lacks {' or '.join(kind)}")
    return folder


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of a folder that match any of the patterns, by name."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


# --- ResNet --------------------------------------------------------------------------------------


def resnet_identity(network: str, weights: str) -> dict[str, str]:
    """SHA-256 of the file, by name, that ``weights`` names.

    Of random weights it is the network with ``random``: torch's version and a fixed seed decide
    them.

    Raises
    ------
    WeightsError
        As :func:`resnet_file` and :func:`hashes`.
    """
    if weights == RANDOM:
        return {network: RANDOM}
    return hashes("weights", [resnet_file(network, weights)])


def resnet_file(network: str, weights: str) -> Path:
    """Locate a state-dict file, or torchvision's file of a weight name, downloading it once.

    Raises
    ------
    WeightsError
        If it cannot be had, or torchvision's file is not the one that its name says; the message
        says what to fetch and where to put it.
    """
    if is_state_dict(weights):
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
            with _patience():
                torch.hub.download_url_to_file(entry.url, str(path), hash_prefix=prefix)
        if not _sha256(path).startswith(prefix):
            raise OSError(
                f"the file at {path} is damaged: its SHA-256 does not begin with {prefix}"
            )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"weights: {name} cannot be had: {error}\n"
            f"Fetch {entry.url} ({entry.meta['_file_size']:.0f} MiB) by hand and put it at "
            f"{path} (instead of a damaged copy that may lie there), or anywhere else and set "
            "weights to its path."
        ) from error
    return path


def is_state_dict(weights: str) -> bool:
    """Tell a state-dict file from a torchvision weight name."""
    return weights.endswith(STATE_DICT_ENDINGS)


def catalogue_entry(network: str, name: str) -> Any:
    """Look up torchvision's entry of weights by name; it imports torchvision.

    Raises
    ------
    WeightsError
        If there is none; the message lists those that there are.
    """
    from pipeline.system.torchvision_shim import torchvision_operators

    torchvision_operators()
    from torchvision import models

    entries = models.get_model_weights(network)
    known = [entry.name for entry in entries]
    if name not in known:
        raise WeightsError(
            f"weights: torchvision has no {name!r} for {network}; allowed are "
            f"{', '.join(known)}, a state-dict file ({', '.join(STATE_DICT_ENDINGS)}) and, for the "
            f"embedded corpus only, {RANDOM}"
        )
    return entries[name]


@contextmanager
def _patience() -> Iterator[None]:
    """Let a server that does not answer be an error; torch itself would wait without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
