"""A judge on loopback that speaks OpenAI's protocol and has the faults of real ones."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next fault, and with the usual reply when there are no more."""

    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            send(self, 404, {"error": {"message": "Not Found"}})
            return
        if "messages" not in body:
            send(self, 400, {"error": {"message": "messages: field required"}})
            return
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization", ""))
            fault = self.server.faults.pop(0) if self.server.faults else None
        reply = self.server.reply
        (fault or say(reply if isinstance(reply, str) else reply(body)))(self)

    def do_GET(self) -> None:
        if self.path != "/v1/models" or not self.server.models:
            self.protocol_version = "HTTP/1.1"  # which says that the connection stays
            send(self, 404, {"error": {"message": "Not Found"}})
            self.rfile.readline()  # and hangs up when it is used
            return
        with self.server.lock:
            self.server.listed += 1
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "nobody"} for name in self.server.models]
        send(self, 200, {"object": "list", "data": models})

    def log_message(self, *_: object) -> None:
        pass


class JudgeServer(ThreadingHTTPServer):
    """Remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: list[dict] = []
        self.keys: list[str] = []
        self.faults: list[Fault] = []
        self.models = ["model-x"]
        self.listed = 0
        self.reply: str | Callable[[dict], str] = "Good. Rating: [[8]]"
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests want."""


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(handler: Handler, status: int, content: object, headers: dict[str, str] | None = None) -> None:
    data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    kind = "text/html" if isinstance(content, str) else "application/json"
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def completion(text: str) -> dict:
    """Every completion has the same id, as from a server that counts badly."""
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [message], "usage": usage}


def say(text: str) -> Fault:
    return lambda handler: send(handler, 200, completion(text))


def status(number: int, message: str = "no", headers: dict[str, str] | None = None, **error: str) -> Fault:
    return lambda handler: send(handler, number, {"error": {"message": message, **error}}, headers)


def html(handler: Handler) -> None:
    send(handler, 200, "<html><body>502 Bad Gateway</body></html>")


def no_choices(handler: Handler) -> None:
    send(handler, 200, {**completion(""), "choices": []})


def half_closed(handler: Handler) -> None:
    """Promises more than it sends, and hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"id": ')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def dripping(handler: Handler) -> None:
    """A byte now and then: no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
