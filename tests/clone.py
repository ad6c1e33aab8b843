"""A clone of the working tree in which tests run DVC as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# small enough for a test; every stage runs as it does by default
SMALL = {
    "embedded.dialogs_per_session": 1,
    "embedded.traps": True,
    "model.hops": 2,
    "train.epochs": 3,
}


class Checkout:
    """A folder with a checkout of the project, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command in the clone; what it printed."""
        who = {
            f"GIT_{who}_{what}": "test@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **who, "PATH": search, "PYTHONPATH": ""},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert (result.returncode != 0) == fails, result.stdout
        return result.stdout

    def hashes(self) -> dict[str, str]:
        """The hash of each output in the locks of the pipeline and of the embedded corpus."""
        locks = [
            yaml.safe_load((self.folder / name).read_text(encoding="utf-8"))
            for name in ("dvc.lock", "embedded/dvc.lock")
            if (self.folder / name).is_file()
        ]
        return {
            out["path"]: out["md5"]
            for lock in locks
            for stage in lock["stages"].values()
            for out in stage["outs"]
        }


class Clone(Checkout):
    """A clone of the working tree with small parameters, committed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        path = folder / "params.yaml"
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in SMALL.items():
            *groups, last = key.split(".")
            group = raw
            for part in groups:
                group = group[part]
            group[last] = value
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        for command in ("init -q", "add -A", "commit -qm start"):
            self.run("git", *command.split())


def stages_run(printed: str) -> list[str]:
    """Names of the stages that DVC says it runs, without the file that they are in."""
    return re.findall(r"Running stage '(?:[\w/]+\.yaml:)?(\w+)'", printed)
