"""What this nameserver says of its host (26100, ours): clock, disk, open files, its table's print.

For `doctor`: two nameservers whose fingerprints differ do not show the same routes.
"""

from typing import Any, final

from broker_trio import __version__
from broker_trio.model.codes import RequestCode
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.namesrv.routes import RouteTable
from broker_trio.remoting.dispatch import Request, Response, Route
from broker_trio.runtime.host import open_files
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.wire.bodies.facts import HostFacts, encode_host_facts


@final
class FactsRequest:
    """One request, answered from what is known already."""

    def __init__(
        self, clock: Clock, disk: Disk, table: RouteTable, config: NameserverConfig
    ) -> None:
        self._clock, self._disk, self._table, self._config = clock, disk, table, config
        self._started = clock.monotonic()

    def routes(self) -> tuple[Route[Any], ...]:
        return (Route(RequestCode.HOST_FACTS, None, self.facts),)

    def facts(self, request: Request, _header: None) -> Response:
        """26100."""
        usage, files = self._disk.usage(), open_files()
        facts = HostFacts(
            role="nameserver",
            name=self._config.name or self._config.listen,
            version=__version__,
            wall_ms=self._clock.wall_ms(),
            uptime_s=int(self._clock.monotonic() - self._started),
            address=self._config.listen,
            http_address=self._config.http.address,
            insecure=self._config.allow_insecure_listen,
            open_files=files.used,
            open_files_max=files.limit,
            disk_total=usage.total,
            disk_free=usage.free,
            route_fingerprint=self._table.fingerprint,
        )
        return Response(body=encode_host_facts(facts, request.command.serialize))
