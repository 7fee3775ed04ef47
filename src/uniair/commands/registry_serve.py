"""Serve a registry over HTTP to nodes: files as they lie in its folder, and nothing else.

It has no secrets and speaks no TLS: nodes verify every byte by the root file that they were given, but whoever reaches
it can read it. Where weights are confidential put a proxy with TLS and a password in front; any static web server does
as well. What is published meanwhile is served from the next request on. Ctrl-C ends it.

Example:
  uniair registry serve runs/registry
  uniair registry serve runs/registry --host 0.0.0.0 --port 8100
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.errors import InputError
from uniair.releases.repository import METADATA, TARGETS, Registry


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("registry", metavar="REGISTRY", type=str, help="folder of uniair registry init")
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="address to listen on; 0.0.0.0 for other machines"
    )
    parser.add_argument("--port", type=int, default=8100, help="0 takes a free one")


class Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of the files of metadata and targets."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uniair", ""
    timeout = 60  # s for a request to be told, and between two on one connection

    def send_head(self) -> Any:
        """A file, if it is one of the registry's."""
        inside = Path(self.translate_path(self.path)).relative_to(Path(self.directory).resolve()).parts
        hidden = any(part.startswith(".") for part in inside)
        if hidden or not inside or inside[0] not in (METADATA, TARGETS) or self.path.endswith("/"):
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Folders are not listed."""
        self.send_error(404)

    def log_error(self, *_: Any) -> None:
        """The line of the request has its status."""

    def log_message(self, format: str, *args: Any) -> None:
        """A line a request, whatever it asked for kept from steering the terminal."""
        print(InputError(f"{self.address_string()} {format % args}"), file=sys.stderr, flush=True)


def run(options: Any) -> dict[str, Any]:
    """Serves until it is told to stop."""
    registry = Registry(options.registry)
    registry.state()
    handler = partial(Handler, directory=str(registry.folder.resolve()))
    try:
        server = ThreadingHTTPServer((options.host, options.port), handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {options.host} --port {options.port}: can't listen there ({error})") from error
    with server:
        address = f"http://{options.host}:{server.server_port}"
        print(f"{address}  (Ctrl-C ends it)\nuniair registry trust {address} --root 1.root.json", flush=True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # shutdown waits for the loop that this handler interrupts
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
    return {"address": address}
