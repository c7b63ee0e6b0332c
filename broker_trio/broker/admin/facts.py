"""What this broker says of its host (26100, ours): clock, disk, open files, its nameservers.

For `doctor`, which asks every program of a cluster and compares. It tells nothing that metrics do
not tell, and asks nobody: a request never makes a broker connect to an address.
"""

from typing import Any, final

from broker_trio import __version__
from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.registrar import Identity, Registrar
from broker_trio.broker.stats import BrokerStats
from broker_trio.model.codes import RequestCode
from broker_trio.remoting.dispatch import Request, Response, Route
from broker_trio.runtime.host import open_files
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.wire.bodies.facts import HostFacts, NameserverView, encode_host_facts


@final
class FactsAdmin:
    """One request, answered from what is known already."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        registrar: Registrar,
        stats: BrokerStats,
        config: BrokerConfig,
        identity: Identity,
    ) -> None:
        self._disk, self._clock, self._registrar = disk, clock, registrar
        self._stats, self._config, self._identity = stats, config, identity

    def routes(self) -> tuple[Route[Any], ...]:
        note = "ours: clock, disk and limits of the host, for `doctor`"
        return (Route(RequestCode.HOST_FACTS, None, self.facts, note=note),)

    def facts(self, request: Request, _header: None) -> Response:
        """26100."""
        usage, files = self._disk.usage(), open_files()
        facts = HostFacts(
            role="broker",
            name=f"{self._identity.broker_name}-{self._identity.broker_id}",
            version=__version__,
            wall_ms=self._clock.wall_ms(),
            uptime_s=int(self._clock.monotonic() - self._stats.started),
            address=self._identity.address,
            http_address=self._config.http.address,
            insecure=self._config.allow_insecure_listen,
            open_files=files.used,
            open_files_max=files.limit,
            disk_total=usage.total,
            disk_free=usage.free,
            nowait=getattr(self._disk, "nowait_supported", None),  # a real folder's alone
            flush=self._config.store.flush_disk_type,
            nameservers=[
                NameserverView(each.address, each.registered, each.last_success_ms, each.last_error)
                for each in self._registrar.statuses
            ],
        )
        return Response(body=encode_host_facts(facts, request.command.serialize))
