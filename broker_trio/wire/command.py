"""A command: what one frame carries, in either direction. Values only, no bytes.

    request    code = RequestCode,  flag 0 (answer wanted) or 2 (one-way: never answered)
    response   code = ResponseCode, flag 1, the request's opaque and serialisation

`ext` holds the header fields under their wire names. From JSON and ROCKETMQ headers every value is
a string; CBOR keeps ints and booleans. Handlers convert them to typed structs (wire/headers/).
"""

from enum import IntEnum
from typing import Final

import msgspec

from broker_trio.model.codes import LanguageCode

RESPONSE: Final = 1
ONEWAY: Final = 2

OUR_VERSION: Final = 481  # ordinal of V5_3_4: clients gate features on it, so never below 479
CBOR_VERSION: Final = OUR_VERSION

ExtValue = str | int | bool
Ext = dict[str, ExtValue]


class Serialize(IntEnum):
    """The frame's serialisation byte."""

    JSON = 0
    ROCKETMQ = 1
    CBOR = 2  # ours


class Command(msgspec.Struct, gc=False):
    """One request or response. `body` is raw; empty means none."""

    code: int
    opaque: int = 0
    flag: int = 0
    ext: Ext = msgspec.field(default_factory=dict)
    body: bytes = b""
    remark: str | None = None
    language: int = LanguageCode.PYTHON
    version: int = OUR_VERSION
    serialize: Serialize = Serialize.JSON

    @property
    def is_oneway(self) -> bool:
        return bool(self.flag & ONEWAY)
