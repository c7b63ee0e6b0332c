"""A stand-in on loopback for what a drill talks to beside the cluster.

Grafana takes annotations of who has the token; Prometheus tells alerts.
"""

import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

TOKEN: Final = "glsa_of-a-test"


@dataclass
class Grafana:
    """Its address, with the slash that people add, and the annotations that it took."""

    address: str
    taken: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def serving(alerts: Sequence[dict[str, Any]] = ()) -> Iterator[Grafana]:
    """While the block runs."""

    class Door(http.server.BaseHTTPRequestHandler):
        grafana: ClassVar[Grafana]

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = (self.path, self.headers["Content-Type"]) == (
                "/api/annotations",
                "application/json",
            )
            right = self.headers["Authorization"] == f"Bearer {TOKEN}"
            if known and right:
                self.grafana.taken.append(json.loads(body))
            self.send_response(200 if known and right else 401 if known else 404)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/v1/alerts" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"data": {"alerts": list(alerts)}}).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Door) as server:
        Door.grafana = Grafana(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Door.grafana
        finally:
            server.shutdown()
            thread.join()
