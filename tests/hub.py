"""A small Hugging Face hub on this machine, which huggingface_hub itself is tested with."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Files = Mapping[str, bytes]
NONE: Mapping[str, str] = {}


def commit(files: Files) -> str:
    """The commit of a model with these files."""
    content = json.dumps({name: files[name].hex() for name in sorted(files)})
    return hashlib.sha1(content.encode()).hexdigest()


@dataclass
class Hub:
    """What it has, and what was asked of it.

    Attributes
    ----------
    models
        The files of each model by ``<name>@<revision>``; its main branch is ``main``.
    downloads
        Names of the files that were downloaded.
    cache
        The folder of huggingface_hub's cache.
    """

    cache: Path
    models: dict[str, Files] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)

    def find(self, name: str, revision: str) -> Files | None:
        """The files of a model at a branch, tag or commit."""
        by_commit = {
            f"{key.partition('@')[0]}@{commit(files)}": files for key, files in self.models.items()
        }
        return (by_commit | self.models).get(f"{name}@{revision}")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:  # api/models/<owner>/<name>/revision or tree/<revision>
            self._describe("/".join(parts[2:4]), parts[4:])
        elif parts[2:3] == ["resolve"]:  # <owner>/<name>/resolve/<revision>/<file>
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)
        else:
            self._send(404, b"")

    def _describe(self, name: str, of: list[str]) -> None:
        files = self.hub.find(name, of[1] if of else "main")
        if files is None:
            self._send(404, b"{}")
        elif of[:1] == ["tree"]:
            rows = [
                {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                for path, content in files.items()
            ]
            self._send(200, json.dumps(rows).encode())
        else:
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "sha": commit(files), "siblings": siblings}
            self._send(200, json.dumps(about).encode())

    def _file(self, name: str, revision: str, path: str, body: bool) -> None:
        files = self.hub.find(name, revision)
        if files is None or path not in files:
            self._send(404, b"")
            return
        if body:
            self.hub.downloads.append(path)
        headers = {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": commit(files)}
        self._send(200, files[path], headers, body)

    def _send(
        self, status: int, content: bytes, headers: Mapping[str, str] = NONE, body: bool = True
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """Let huggingface_hub ask a hub without models, with an empty cache in `folder`."""
    from huggingface_hub import constants

    hub = Hub(folder / "cache")
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
