"""Folders of pretrained models of transformers: found, or downloaded from the Hugging Face hub.

Only configurations, tokenizers, preprocessor settings and weights are fetched, and no code.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.features.pretrained import WeightsError, hashes
from pipeline.system.filesystem import unreadable

SAFETENSORS = ("*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
TOKENIZER = ("tokenizer.json", "vocab*", "*.model")
PREPROCESSOR = ("preprocessor_config.json", "processor_config.json")
_SETTINGS = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt"),
    "added_tokens.json",
)

_TIMEOUT = 20.0  # seconds for a server to answer


@dataclass(frozen=True)
class Model:
    """A pretrained model, as ``params.yaml`` names it.

    Attributes
    ----------
    name
        A folder, ``package:<module>/<folder>`` of an installed package, or a model name of the
        Hugging Face hub, which is downloaded unless it is in the hub's cache.
    also
        Patterns of the files that its modality needs beside configuration and weights, such as
        :data:`TOKENIZER`; one of them must be there.
    revision
        Branch, tag or commit on the hub; None for the main branch, or the cached commit of it.
    pickled
        Whether weights in pickle format are read if there is no safetensors file.
    """

    name: str
    also: tuple[str, ...]
    revision: str | None = None
    pickled: bool = False

    def folder(self) -> Path:
        """The folder with the files.

        Raises
        ------
        WeightsError
            If files are missing; the message names all of them, and how to get them.
        """
        name = self.name
        try:
            if name.startswith("package:"):
                return self._complete(_package_folder(name.removeprefix("package:")))
            if Path(name).is_dir():
                return self._complete(Path(name))
            return self._hub_folder()
        except (OSError, ValueError, ImportError) as error:
            if isinstance(error, OSError) and error.errno:
                raise WeightsError(f"model: {unreadable(Path(name), error)}") from error
            is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)
            model = name if is_name else "<name>"
            local = f"data/weights/{Path(model).name}" if is_name else "data/weights/<name>"
            raise WeightsError(
                f"model: there is no complete model at {name}: {error}\n"
                f"Fetch config.json, model.safetensors and {' or '.join(self.also)} of "
                f"https://huggingface.co/{model} by hand (with a network: hf download {model} "
                f"--local-dir {local}), put them into a folder such as {local} and set model to "
                "it. It may also be a model name of the hub, or package:<module>/<folder>."
            ) from error

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that is read, by its name; errors as of :meth:`folder`."""
        folder = self.folder()
        return hashes("model", _matching(folder, [*_SETTINGS, *self.also, *self.weights(folder)]))

    def commit(self) -> str:
        """The commit of a model of the hub; empty for a folder or package."""
        folder = self.folder()
        return folder.name if folder.parent.name == "snapshots" else ""

    def weights(self, folder: Path) -> tuple[str, ...]:
        """Patterns of the weights that are read: pickled ones only if there are no others."""
        return SAFETENSORS if _matching(folder, SAFETENSORS) or not self.pickled else PICKLED

    def _hub_folder(self) -> Path:
        """The folder of a model in the hub's cache; a cached model is not updated."""
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HFValidationError

        fetch = partial(snapshot_download, self.name, revision=self.revision)
        patterns = [*_SETTINGS, *self.also]
        try:
            cached = fetch(allow_patterns=[*patterns, *SAFETENSORS], local_files_only=True)
            return self._complete(Path(cached))
        except HFValidationError as error:
            raise ValueError(
                "no such folder, and not a model name of the Hugging Face hub"
            ) from error
        except OSError:
            pass  # not in the cache, or not completely
        try:
            # snapshot_download itself has no timeout and retries
            there = HfApi().model_info(self.name, revision=self.revision, timeout=_TIMEOUT)
            names = [file.rfilename for file in there.siblings or []]
            has_safetensors = any(name.endswith(".safetensors") for name in names)
            patterns += PICKLED if self.pickled and not has_safetensors else SAFETENSORS
            # of the commit just seen, and not of one that was pushed in between
            folder = Path(snapshot_download(self.name, revision=there.sha, allow_patterns=patterns))
        except Exception as error:  # of the hub, or of the HTTP library that its version uses
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise OSError(f"the Hugging Face hub does not provide it ({reason[0]})") from error
        if names and not has_safetensors and not self.pickled:
            raise OSError(_pickled_only())
        return self._complete(folder)

    def _complete(self, folder: Path) -> Path:
        """Return `folder` if it has all files of a model."""
        if _matching(folder, PICKLED) and not _matching(folder, self.weights(folder)):
            raise OSError(_pickled_only())
        kinds = (("config.json",), self.weights(folder)[:1], self.also)
        missing = [" or ".join(kind) for kind in kinds if not _matching(folder, kind)]
        if missing:
            raise FileNotFoundError(f"it lacks {', '.join(missing)}")
        return folder


def _pickled_only() -> str:
    return (
        "its weights are in pickle format only; set the stream's pickled_weights to true to read "
        "them (by torch.load with weights_only=True, which runs no code), or save them as "
        "safetensors"
    )


def _package_folder(name: str) -> Path:
    module, _, inside = name.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"there is no package {module}")
    return Path(spec.submodule_search_locations[0]) / inside


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of a folder that match any of the patterns, sorted."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
