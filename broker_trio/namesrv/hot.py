"""What may change while the program runs: the members of `HotSection`, under Apache's names.

A request (318) is text, `key=value` lines. Either all of its keys are hot switches with a boolean,
and all of them change, or nothing does. Whatever names a path, a limit or an address is not here,
so no request can ever set it.
"""

from collections.abc import Mapping
from typing import Final, final

import msgspec

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.namesrv.config import HotSection


def wire_name(name: str) -> str:
    """`enable_topic_list` as tools know it: enableTopicList."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


NAMES: Final = {wire_name(name): name for name in HotSection.__struct_fields__}
BOOLEANS: Final = {"true": True, "false": False}


@final
class HotSwitches:
    """The values of now; whoever needs one asks each time."""

    def __init__(self, configured: HotSection) -> None:
        self.now = configured

    def update(self, told: Mapping[str, str]) -> dict[str, str]:
        """Change them; gives what differs now. Raises `Refused` and changes nothing otherwise."""
        values = {}
        for name, text in told.items():
            if name not in NAMES:
                known = ", ".join(sorted(NAMES))
                problem = f"{name} cannot change at run time; what can: {known}"
                raise Refused(ResponseCode.NO_PERMISSION, problem)
            value = BOOLEANS.get(text.strip().lower())
            if value is None:
                raise Refused(ResponseCode.SYSTEM_ERROR, f"{name} is true or false, not {text!r}")
            values[NAMES[name]] = value
        before = self.texts()
        self.now = msgspec.structs.replace(self.now, **values)
        return {name: text for name, text in self.texts().items() if before[name] != text}

    def texts(self) -> dict[str, str]:
        """Every switch under its wire name, as text."""
        return {name: str(getattr(self.now, field)).lower() for name, field in NAMES.items()}
