"""All faults by their names: those that page, and those that are tickets alone."""

from typing import Final

from tests.interop import faults
from tests.interop.faults import Fault
from tests.interop.faults_brokers import BROKER_FAULTS
from tests.interop.faults_pairs import PAIR_FAULTS
from tests.interop.faults_watched import GROUP_FAULTS, NAMESERVER_FAULTS, WATCH_FAULTS

FAULTS: Final[dict[str, Fault]] = {
    **faults.FAULTS,
    **BROKER_FAULTS,
    **PAIR_FAULTS,
    **GROUP_FAULTS,
    **NAMESERVER_FAULTS,
    **WATCH_FAULTS,
}
