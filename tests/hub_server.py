"""A Hub on 127.0.0.1 for the tests: as much of its API as pushing and loading models takes.

Clients are real; they are pointed here by HF_ENDPOINT, and away from the Xet protocol by HF_HUB_DISABLE_XET=1, both of
which huggingface_hub reads when it is imported.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub.utils.sha import git_hash

WRITER, READER = "hf_writer", "hf_reader"
"""A token that may write into repositories of `org`, and one that may not."""

_LARGE = (".safetensors", ".onnx", ".png")
_NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Refusal(Exception):  # noqa: N818 - no error of the tests, but an answer
    """An answer other than 200, with the Hub's own code for it."""

    def __init__(self, status: int, code: str = "", message: str = "", **body: str):
        self.status, self.code, self.message = status, code, message
        self.body = {"error": message, **body}


@dataclass
class Repository:
    private: bool
    gated: str | bool = False
    # Commits in their order, each with all files.
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit_of(self, revision: str) -> str:
        commit = self.head if revision == "main" else self.tags.get(revision, revision)
        if commit not in self.commits:
            raise Refusal(404, "RevisionNotFound", f"no revision {revision}")
        return commit

    def add(self, files: dict[str, bytes]) -> str:
        commit = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = {**(self.commits[self.head] if self.commits else {}), **files}
        return commit


@dataclass
class Hub:
    """What the server holds, and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused_uploads: int = 0
    """How many uploads of large files are refused from now on."""

    def whoami(self, **_: Any) -> Any:
        return {"type": "user", "name": "ada", "fullname": "Ada", "orgs": [], "auth": {"type": "access_token"}}

    def validate(self, **_: Any) -> Any:
        return {"errors": [], "warnings": []}

    def create(self, body: Any, **_: Any) -> Any:
        name = f"{body['organization']}/{body['name']}"
        if name in self.repositories:
            raise Refusal(409, message="You already created this model repo", url=f"{self.url}/{name}")
        # Version 1 of the client says `private`, version 2 `visibility`.
        private = body.get("private") or body.get("visibility") == "private"
        self.repositories[name] = Repository(bool(private))
        self.repositories[name].add({".gitattributes": b"*.safetensors filter=lfs\n"})
        return {"url": f"{self.url}/{name}"}

    def settings(self, repo: Repository, body: Any, **_: Any) -> Any:
        repo.gated = body["gated"]
        return {}

    def refs(self, repo: Repository, **_: Any) -> Any:
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repo.tags.items()]
        return {"branches": [], "converts": [], "tags": tags}

    def preupload(self, repo: Repository, revision: str, body: Any, **_: Any) -> Any:
        there = repo.commits[repo.commit_of(revision)]
        files = []
        for file in body["files"]:
            large, content = file["path"].endswith(_LARGE), there.get(file["path"])
            oid = None if content is None else _sha256(content) if large else git_hash(content)
            mode = "lfs" if large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files}

    def batch(self, body: Any, **_: Any) -> Any:
        return {
            "transfer": "basic",
            "objects": [
                {**known, "actions": {"upload": {"href": f"{self.url}/upload/{known['oid']}"}}}
                if known["oid"] not in self.large
                else known
                for known in body["objects"]
            ],
        }

    def upload(self, oid: str, content: bytes, **_: Any) -> Any:
        if self.refused_uploads:
            self.refused_uploads -= 1
            raise Refusal(507, message="no space left")
        assert _sha256(content) == oid
        self.large[oid] = content
        return {}

    def commit(self, repo: Repository, name: str, revision: str, content: bytes, **_: Any) -> Any:
        assert revision == "main"
        files = {}
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        oid = repo.add(files)
        return {"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid, "success": True, "hookOutput": ""}

    def tag(self, repo: Repository, revision: str, body: Any, **_: Any) -> Any:
        if body["tag"] in repo.tags:
            raise Refusal(409, message="the tag exists")
        repo.tags[body["tag"]] = repo.commit_of(revision)
        return {}

    def paths(self, repo: Repository, revision: str, content: bytes, **_: Any) -> Any:
        there = repo.commits[repo.commit_of(revision)]
        return [_described(path, there[path]) for path in parse_qs(content.decode())["paths"] if path in there]

    def tree(self, repo: Repository, revision: str, **_: Any) -> Any:
        return [_described(path, file) for path, file in repo.commits[repo.commit_of(revision)].items()]

    def info(self, repo: Repository, name: str, revision: str = "main", **_: Any) -> Any:
        commit = repo.commit_of(revision)
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        return {"id": name, "modelId": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []}

    def resolve(self, repo: Repository, revision: str, path: str, **_: Any) -> tuple[bytes, dict[str, str]]:
        commit = repo.commit_of(revision)
        if path not in repo.commits[commit]:
            raise Refusal(404, "EntryNotFound", f"no file {path}")
        content = repo.commits[commit][path]
        etag = _sha256(content) if path.endswith(_LARGE) else git_hash(content)
        return content, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}


_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", r"/api/whoami-v2", Hub.whoami),
    ("POST", r"/api/validate-yaml", Hub.validate),
    ("POST", r"/api/repos/create", Hub.create),
    ("PUT", rf"/api/models/{_NAME}/settings", Hub.settings),
    ("GET", rf"/api/models/{_NAME}/refs", Hub.refs),
    ("POST", rf"/api/models/{_NAME}/preupload/(?P<revision>[^/]+)", Hub.preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", Hub.batch),
    ("PUT", r"/upload/(?P<oid>\w+)", Hub.upload),
    ("POST", rf"/api/models/{_NAME}/commit/(?P<revision>[^/]+)", Hub.commit),
    ("POST", rf"/api/models/{_NAME}/tag/(?P<revision>[^/]+)", Hub.tag),
    ("POST", rf"/api/models/{_NAME}/paths-info/(?P<revision>[^/]+)", Hub.paths),
    ("GET", rf"/api/models/{_NAME}/tree/(?P<revision>[^/]+)", Hub.tree),
    ("GET", rf"/api/models/{_NAME}(?:/revision/(?P<revision>[^/]+))?", Hub.info),
    ("GET", rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Hub.resolve),
]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(path: str, content: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    if path.endswith(_LARGE):
        described["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return described


def _answer(hub: Hub, method: str, path: str, token: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    for verb, pattern, handle in _ROUTES:
        match = re.fullmatch(pattern, path)
        if match is None or verb != ("GET" if method == "HEAD" else method):
            continue
        if token not in ("", WRITER, READER):
            raise Refusal(401, message="Invalid credentials in Authorization header")
        # Addresses of uploads are signed, and need no token.
        if verb != "GET" and handle is not Hub.upload and token != WRITER:
            raise Refusal(403, message="You don't have the rights")
        known = {name: value for name, value in match.groupdict().items() if value is not None}
        name = known.pop("repo", None)
        if name is not None:
            repo = hub.repositories.get(name)
            if repo is None or (repo.private and not token):
                raise Refusal(401 if not token else 404, "RepoNotFound", "Repository not found")
            known |= {"repo": repo, "name": name}
        body = json.loads(content) if content[:1] == b"{" and content.count(b"\n") == 0 else None
        answer = handle(hub, **known, content=content, body=body)
        return answer if isinstance(answer, tuple) else (json.dumps(answer).encode(), {})
    raise Refusal(404, message=f"this server does not know {method} {path}")


@contextmanager
def serve() -> Iterator[Hub]:
    """An empty Hub, until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            try:
                status = 200
                answer, headers = _answer(hub, self.command, path, token, content)
            except Refusal as refusal:
                status, answer = refusal.status, json.dumps(refusal.body).encode()
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815 - names that http.server gives

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
