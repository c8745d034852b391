"""A hub on loopback that takes repositories and uploads as huggingface_hub sends them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = (".safetensors", ".png")  # goes by LFS, whatever its size
TOKEN = "hf_right"
Repository = dict[str, bytes]


class Handler(BaseHTTPRequestHandler):
    """Answers for `HubServer`: `/api` for repositories, `.git/info/lfs` for what is large, `/lfs` for its bytes."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        hub = self.server
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Invalid username or password.")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts == ["api", "validate-yaml"]:
            return self._send({"errors": [], "warnings": []})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            objects = [{**one, "actions": {"upload": {"href": f"{hub.address}/lfs/{one['oid']}"}}} for one in wanted]
            return self._send({"transfer": "basic", "objects": objects})
        if len(parts) == 6 and parts[0] == "api" and parts[4] in ("preupload", "commit"):
            name = f"{parts[1]}/{parts[2]}/{parts[3]}"
            if parts[2] in hub.closed:
                return self._refuse(403, "You have no right to write to this repository.")
            if name not in hub.repositories:
                return self._refuse(404, "Repository not found", code="RepoNotFound")
            if parts[4] == "preupload":
                return self._send({"files": [_mode(one["path"]) for one in json.loads(body)["files"]]})
            if hub.lost:
                return self._refuse(*hub.lost.pop())
            self._commit(hub.repositories[name], [json.loads(line) for line in body.splitlines()])
            address = f"{hub.address}/{parts[2]}/{parts[3]}/commit/{'1' * 40}"
            return self._send({"commitUrl": address, "commitOid": "1" * 40, "success": True})
        return self._refuse(404, "Not found")

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self._body()
        self._send({})

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[1:4])
        if parts[0] != "api" or name not in self.server.repositories:
            return self._refuse(404, "Repository not found", code="RepoNotFound")
        files = self.server.repositories[name]
        if parts[4:5] == ["tree"]:
            return self._send([{"type": "file", "path": path, "size": len(own), "oid": "0"} for path, own in files.items()])
        return self._send({"id": f"{parts[2]}/{parts[3]}", "sha": "1" * 40, "siblings": [{"rfilename": one} for one in files]})

    def _create(self, asked: dict) -> None:
        hub = self.server
        name = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
        if asked["organization"] in hub.closed:
            return self._refuse(403, "You don't have the rights to create a repository under this namespace.")
        answer = {"url": f"{hub.address}/{asked['organization']}/{asked['name']}"}
        if name in hub.repositories:
            return self._send({**answer, "error": "You already created this repository."}, 409)
        hub.created[name] = asked
        hub.repositories[name] = {}
        return self._send(answer)

    def _commit(self, files: Repository, operations: list[dict]) -> None:
        for operation in operations:
            kind, value = operation["key"], operation["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, answer: object, status: int = 200, **headers: str) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        self._send({"error": message}, status, **({"X-Error-Code": code} if code else {}), **{"X-Error-Message": message})

    def log_message(self, *_: object) -> None: ...


@dataclass
class _State:
    repositories: dict[str, Repository] = field(default_factory=dict)  # by KIND/OWNER/NAME
    created: dict[str, dict] = field(default_factory=dict)  # what was asked for, of those that were not there
    large: Repository = field(default_factory=dict)  # by sha256
    closed: set[str] = field(default_factory=set)  # owners who do not let the token write
    lost: list[tuple[int, str]] = field(default_factory=list)  # what the next commits are answered instead


class HubServer(ThreadingHTTPServer, _State):
    """Keeps what was uploaded."""

    daemon_threads = True

    def __init__(self) -> None:
        _State.__init__(self)
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def _mode(path: str) -> dict[str, object]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A hub that runs in this process."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
