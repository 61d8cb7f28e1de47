"""A Hugging Face Hub on the loopback address, as far as a push needs it: repositories, LFS objects, commits.

It speaks the classic LFS protocol; the real one prefers Xet for large files, which huggingface_hub hides from us.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

TOKEN = "hf_a-token-that-only-the-two-know"


@dataclass
class Hub:
    """What was pushed: repositories by id, with `private` and `files`."""

    url: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)


def _app(hub: Hub) -> Flask:
    app = Flask(__name__)

    @app.before_request
    def _who() -> Response | None:
        if request.path.startswith("/objects/") or request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return Response(json.dumps({"error": "Invalid username or password."}), status=401)

    @app.post("/api/repos/create")
    def _create() -> Any:
        wanted = request.get_json()
        repo = f"{wanted['organization']}/{wanted['name']}"
        if repo.startswith("others/"):
            return Response(json.dumps({"error": "You don't have the rights"}), status=403)
        if repo in hub.repos:
            return jsonify({"error": "You already created this model repo", "url": f"{hub.url}/{repo}"}), 409
        hub.repos[repo] = {"private": wanted.get("private", wanted.get("visibility") == "private"), "files": {}}
        return jsonify({"url": f"{hub.url}/{repo}", "name": repo})

    @app.post("/api/validate-yaml")
    def _validate() -> Any:
        content = request.get_json()["content"]
        metadata = yaml.safe_load(content.split("---")[1])
        known = {"library_name", "pipeline_tag", "tags", "base_model", "base_model_relation", "model-index"}
        errors = [{"message": f"{name} is unknown"} for name in metadata if name not in known]
        return jsonify({"errors": errors, "warnings": []}), 400 if errors else 200

    @app.post("/api/models/<owner>/<name>/preupload/<revision>")
    def _preupload(owner: str, name: str, revision: str) -> Any:
        modes = [
            {
                "path": item["path"],
                "uploadMode": "lfs" if item["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for item in request.get_json()["files"]
        ]
        return jsonify({"files": modes})

    @app.post("/<owner>/<name>.git/info/lfs/objects/batch")
    def _batch(owner: str, name: str) -> Any:
        objects = [
            item | {"actions": {"upload": {"href": f"{hub.url}/objects/{item['oid']}"}}}
            for item in request.get_json()["objects"]
        ]
        return jsonify({"transfer": "basic", "objects": objects})

    @app.put("/objects/<oid>")
    def _object(oid: str) -> Any:
        data = request.get_data()
        assert hashlib.sha256(data).hexdigest() == oid
        hub.objects[oid] = data
        return ""

    @app.post("/api/models/<owner>/<name>/commit/<revision>")
    def _commit(owner: str, name: str, revision: str) -> Any:
        repo = hub.repos[f"{owner}/{name}"]
        for line in request.get_data(as_text=True).splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repo["files"][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repo["files"][value["path"]] = hub.objects[value["oid"]]
        oid = hashlib.sha1(request.get_data()).hexdigest()  # noqa: S324  (as git names commits)
        url = f"{hub.url}/{owner}/{name}/commit/{oid}"
        return jsonify({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    @app.get("/api/models/<owner>/<name>")
    @app.get("/api/models/<owner>/<name>/revision/<revision>")
    def _info(owner: str, name: str, revision: str = "main") -> Any:
        return jsonify({"id": f"{owner}/{name}", "sha": "0" * 40, "siblings": [], "private": True, "tags": []})

    return app


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """The Hub, until the test has ended."""
    hub = Hub()
    server = make_server("127.0.0.1", 0, _app(hub), threaded=True)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
