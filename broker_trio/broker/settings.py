"""The few broker settings that may change while it runs (request 25), apart from the frozen ones.

Nothing here names a path, a command or an address: what a stranger on the network may reach must
not be able to move files or start anything. `admin/runtime.py` reads and writes this struct by its
field names, in camel case; the other parts hold it and read a field where they need it.
"""

import msgspec

from broker_trio.model.route import Perm


class Settings(msgspec.Struct, kw_only=True, rename="camel"):
    """Defaults are Apache's. Lost at restart: the configuration file decides again."""

    broker_permission: int = Perm.READ | Perm.WRITE
    auto_create_topic_enable: bool = True
    auto_create_subscription_group: bool = True
    default_topic_queue_nums: int = 8
    long_polling_enable: bool = True

    @property
    def readable(self) -> bool:
        return bool(self.broker_permission & Perm.READ)

    @property
    def writable(self) -> bool:
        return bool(self.broker_permission & Perm.WRITE)
