"""Upload of a bundle to the Hugging Face hub; nothing else in this package uses a network."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from pipeline import InputError
from pipeline.system.values import brief


def check_name(name: str) -> None:
    """Check the name of a repository.

    Raises
    ------
    InputError
        If it is not ``USER/NAME``.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push-to: {name} is no name on the hub: {error}") from error
    if "/" not in name:
        raise InputError(f"--push-to: {name} has no owner; write USER/{name}")


def push(folder: Path, name: str, *, public: bool = False) -> str:
    """Upload a bundle; returns the address of the repository.

    The repository is made if there is none, private unless `public`.

    Raises
    ------
    InputError
        If the repository is public and `public` is not set, or the hub refuses the upload.
    """
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(name, private=not public, exist_ok=True)
        # an existing one keeps its visibility
        if not public and not api.model_info(name).private:
            raise InputError(
                f"{name}: exists and is public; make it private, or add --public if all may have "
                "the model"
            )
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Bundle of models")
    except InputError:
        raise
    except Exception as error:  # of the hub, or of the HTTP library that its version uses
        raise InputError(
            f"{folder}: is written, but was not uploaded to {name} ({brief(error)}); after "
            f"`hf auth login`, `hf upload {name} {folder} --private` uploads it"
        ) from error
    return str(address)
