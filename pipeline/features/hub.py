"""Folders of pretrained models of transformers: found, or downloaded from the Hugging Face hub.

Only configurations, tokenizers, preprocessor settings and weights are fetched, and no code.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.features.pretrained import WeightsError, hashes
from pipeline.system.filesystem import unreadable
from pipeline.system.values import brief

# names of the weights as transformers looks for them: one file, or else an index of several
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
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
                return self._complete(package_folder(name.removeprefix("package:")))
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
        """The commit of a model in the hub's cache; empty for any other folder."""
        folder = self.folder()
        is_commit = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
        return folder.name if is_commit else ""

    def weights(self, folder: Path) -> list[str]:
        """The names of the files with weights that transformers reads, and of their index.

        Pickled ones only if they are allowed and there are no others; empty if there are none.
        Those that an index names may be missing.
        """
        first = self._first({name for name in (*SAFETENSORS, *PICKLED) if (folder / name).exists()})
        if first not in (SAFETENSORS[1], PICKLED[1]):
            return [first] if first else []
        try:
            shards = set(json.loads((folder / first).read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its {first} is no index of weights ({error!r})") from error
        return [first, *sorted(shards)]

    def _first(self, names: Set[str]) -> str | None:
        """The file among `names` that transformers would read first; None if it has no weights.

        Raises
        ------
        OSError
            If there are pickled weights only, and they are not allowed.
        """
        read = (*SAFETENSORS, *PICKLED) if self.pickled else SAFETENSORS
        first = next((name for name in read if name in names), None)
        if first is None and not names.isdisjoint(PICKLED):
            raise OSError(
                "its weights are in pickle format only; set the stream's pickled_weights to true "
                "to read them (by torch.load with weights_only=True, which runs no code), or save "
                "them as safetensors"
            )
        return first

    def _hub_folder(self) -> Path:
        """The folder of a model in the hub's cache; a cached model is not updated."""
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        fetch = partial(snapshot_download, self.name, revision=self.revision)
        settings, cached = [*_SETTINGS, *self.also], ""
        try:
            return self._complete(Path(fetch(allow_patterns=settings, local_files_only=True)))
        except HFValidationError as error:
            raise ValueError(
                "no such folder, and not a model name of the Hugging Face hub"
            ) from error
        except LocalEntryNotFoundError:
            pass
        except OSError as error:
            cached = f", and of the copy in its cache {error}"
        with _from_hub(cached):
            # snapshot_download itself has no timeout and retries
            there = HfApi().model_info(self.name, revision=self.revision, timeout=_TIMEOUT)
        first = self._first({file.rfilename for file in there.siblings or []})
        with _from_hub(cached):
            folder = Path(fetch(allow_patterns=[*settings, *filter(None, [first])]))
            if first in (SAFETENSORS[1], PICKLED[1]):
                fetch(allow_patterns=self.weights(folder))
        return self._complete(folder)

    def _complete(self, folder: Path) -> Path:
        """Return `folder` if it has all files of a model."""
        kinds = (("config.json",), self.also)
        missing = [" or ".join(kind) for kind in kinds if not _matching(folder, kind)]
        weights = self.weights(folder) or ["model.safetensors"]
        missing += [name for name in weights if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"it lacks {', '.join(missing)}")
        return folder


@contextmanager
def _from_hub(cached: str) -> Iterator[None]:
    """Turn errors of the hub, or of the HTTP library that its version uses, into an OSError."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"the Hugging Face hub does not provide it ({brief(error)}){cached}"
        ) from error


def package_folder(name: str) -> Path:
    """The folder ``<module>/<folder>`` of an installed package.

    Raises
    ------
    ImportError
        If there is no such package.
    """
    module, _, inside = name.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"there is no package {module}")
    return Path(spec.submodule_search_locations[0]) / inside


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of a folder that match any of the patterns, sorted."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
