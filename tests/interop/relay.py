"""Servers of tests: a relay that can be cut, and a page of metrics that says what it is told to."""

import socket
import socketserver
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.interop.monitored import Server


class Relay:
    """Passes connections on to an address, until it is cut; then it closes them and takes none."""

    def __init__(self, target_address: str) -> None:
        host, _, port = target_address.rpartition(":")
        self._target = (host, int(port))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.is_cut = False
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay.carry(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def carry(self, near: socket.socket) -> None:
        """Both directions of one connection, until either ends."""
        try:
            far = socket.create_connection(self._target, 10)
        except OSError:
            return  # the caller sees its connection close
        far.settimeout(None)
        with far:
            with self._lock:
                if self.is_cut:
                    return
                self._open |= {near, far}
            back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
            back.start()
            self._pump(near, far)
            back.join()
            with self._lock:
                self._open -= {near, far}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass  # reset, or cut: the other direction is ended below as well
        finally:
            self._end(source, sink)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            self._end(*self._open)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Planted:
    """A page of metrics that says what it is told to."""

    def __init__(self) -> None:
        self.text = ""
        planted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(planted.text.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Nothing to say."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
