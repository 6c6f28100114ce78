"""As much of the Hugging Face Hub as it takes to create a repository, commit files to a branch, and read them back."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

TOKEN = "hf_" + "a" * 34


@dataclass
class Repository:
    """Branches by name, each the commit it is at; commits by hash, each the files it has."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        sha = hashlib.sha1(content + str(len(self.commits)).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha


@dataclass
class Hub:
    """The server's address, what it holds, and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def failure(status: int, code: str) -> Response:
    return Response(json.dumps({"error": code}), status, {"X-Error-Code": code, "X-Error-Message": code})


def application(hub: Hub) -> Flask:
    app = Flask("hub")

    def allowed() -> bool:
        return request.headers.get("Authorization") == f"Bearer {TOKEN}"

    def found(name: str, revision: str) -> tuple[Repository, str] | Response:
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not allowed()):
            return failure(404 if allowed() else 401, "RepoNotFound")
        sha = repository.branches.get(revision, revision)
        return (repository, sha) if sha in repository.commits else failure(404, "RevisionNotFound")

    @app.before_request
    def note() -> Response | None:
        hub.asked.append(f"{request.method} {request.path}")
        return failure(401, "Unauthorized") if request.method == "POST" and not allowed() else None

    @app.post("/api/validate-yaml")
    def validate() -> Response:
        return jsonify({"errors": [], "warnings": []})

    @app.post("/api/repos/create")
    def create() -> Response:
        name = f"{request.json['organization']}/{request.json['name']}"
        if name in hub.repositories:
            return Response(json.dumps({"error": "RepoExists", "url": f"{hub.url}/{name}"}), 409)
        hub.repositories[name] = Repository(
            private=request.json.get("private") or request.json.get("visibility") == "private"
        )
        hub.repositories[name].commit("main", {".gitattributes": b""})
        return jsonify({"url": f"{hub.url}/{name}"})

    @app.post("/api/models/<path:name>/branch/<branch>")
    def create_branch(name: str, branch: str) -> Response:
        repository = hub.repositories[name]
        if branch in repository.branches:
            return failure(409, "BranchExists")
        repository.branches[branch] = repository.branches["main"]
        return jsonify({"url": f"{hub.url}/{name}/tree/{branch}"})

    @app.post("/api/models/<path:name>/preupload/<revision>")
    def preupload(name: str, revision: str) -> Response:
        files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in request.json["files"]]
        return jsonify({"files": files})

    @app.post("/api/models/<path:name>/commit/<revision>")
    def commit(name: str, revision: str) -> Response:
        repository = hub.repositories[name]
        files = dict(repository.commits[repository.branches[revision]])
        for line in map(json.loads, request.data.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = repository.commit(revision, files)
        return jsonify({"commitUrl": f"{hub.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    @app.get("/api/models/<path:name>/revision/<revision>")
    def information(name: str, revision: str) -> Response:
        place = found(name, revision)
        return place if isinstance(place, Response) else jsonify({"id": name, "sha": place[1], "siblings": []})

    @app.get("/api/models/<path:name>/tree/<revision>")
    def tree(name: str, revision: str) -> Response:
        place = found(name, revision)
        if isinstance(place, Response):
            return place
        files = place[0].commits[place[1]].items()
        return jsonify(
            [{"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for p, d in files]
        )

    @app.get("/<organisation>/<name>/resolve/<revision>/<path:file>")
    def resolve(organisation: str, name: str, revision: str, file: str) -> Response:
        place = found(f"{organisation}/{name}", revision)
        if isinstance(place, Response):
            return place
        data = place[0].commits[place[1]].get(file)
        if data is None:
            return failure(404, "EntryNotFound")
        return Response(data, 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": place[1]})

    return app


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = make_server("127.0.0.1", 0, application(hub), threaded=True)
    hub.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # how often it looks whether to stop
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
