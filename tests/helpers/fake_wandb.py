"""A W&B server on this machine that keeps what runs send: enough for a run, for one that goes on, and `wandb sync`."""

import gzip
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ENTITY = {"id": "1", "name": "someone"}


@dataclass
class Kept:
    """What the server knows of a run."""

    about: dict[str, Any] = field(default_factory=dict)  # what it was begun with: groupName, displayName, tags, ...
    files: dict[str, list[str]] = field(default_factory=dict)  # lines of its streams
    exit_code: int | None = None
    preempting: bool = False

    @property
    def history(self) -> list[dict]:
        return [json.loads(line) for line in self.files.get("wandb-history.jsonl", [])]


class FakeWandb(ThreadingHTTPServer):
    """Serves in a thread from its construction to ``close``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, Kept] = {}
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": "a" * 40}

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, query: dict[str, Any]) -> dict[str, Any]:
        """What a GraphQL query is answered."""
        given = query.get("variables") or {}
        operation = query.get("operationName")
        if operation == "RunResumeStatus":
            bucket = self.bucket(given["name"]) if given["name"] in self.runs else None
            return {"model": {"id": "2", "name": given["project"], "entity": ENTITY, "bucket": bucket}}
        if operation == "UpsertBucket":
            new = given["name"] not in self.runs
            kept = self.runs.setdefault(given["name"], Kept())
            kept.about |= {key: value for key, value in given.items() if value is not None}
            return {"upsertBucket": {"bucket": self.bucket(given["name"]), "inserted": new}}
        if operation == "CreateRunFiles":
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": []}}
        if operation == "Viewer":
            return {"viewer": {**ENTITY, "entity": ENTITY["name"], "username": ENTITY["name"], "flags": "{}"}}
        return {}

    def bucket(self, name: str) -> dict[str, Any]:
        kept = self.runs[name]
        lines = kept.files.get("wandb-history.jsonl", [])
        events = kept.files.get("wandb-events.jsonl", [])
        project = {"id": "2", "name": kept.about.get("project"), "entity": ENTITY}
        return {
            "id": name,
            "name": name,
            "displayName": kept.about.get("displayName"),
            "config": kept.about.get("config", "{}"),
            "summaryMetrics": (kept.files.get("wandb-summary.json") or ["{}"])[-1],
            "historyLineCount": len(lines),
            "eventsLineCount": len(events),
            "logLineCount": 0,
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "wandbConfig": json.dumps({"t": 1}),  # says that the run has begun
            "tags": kept.about.get("tags", []),
            "project": project,
        }

    def stream(self, name: str, sent: dict[str, Any]) -> None:
        """Keep a piece of a run's streams, each at its offset."""
        kept = self.runs.setdefault(name, Kept())
        for file, piece in (sent.get("files") or {}).items():
            lines = kept.files.setdefault(file, [])
            lines[piece["offset"] :] = piece["content"]
        kept.preempting |= bool(sent.get("preempting"))
        if sent.get("complete"):
            kept.exit_code = sent["exitcode"]


class Handler(BaseHTTPRequestHandler):
    server: FakeWandb

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer: dict[str, Any] = {}
        if self.path.endswith("/graphql"):
            answer = {"data": self.server.answer(json.loads(body))}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[-2], json.loads(body))
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""
