"""The ROCKETMQ header (serialisation 1).

    i16 code   u8 language   i16 version   i32 opaque   i32 flag
    i32 remark length, remark                                      0: none
    i32 ext length, then entries until it is used up:
        i16 name length, name, i32 value length, value

* The code is cut to 16 bits. The eight POP codes above 200000 arrive as 3442 to 3448 and 3543,
  which nothing else uses, and are mapped back in requests; Apache's broker refuses them.
* An empty value means null: the name is left out of `ext`.
* Bytes after the entries are ignored. Text that is no UTF-8 is replaced, as Java replaces it.

A client writes the same names in the same order each time, and most values have the same length
each time. So the layout of the entries (names and lengths, everything but the values) is remembered
by its size; where the next header has the very same one, one `unpack_from` cuts it up. Otherwise a
loop does: it unpacks "short, letter, int" in one go, because almost every name that arrives is one
letter long (SEND_MESSAGE_V2). 3 µs and 5 µs for a typical send (2-core x86, CPython 3.11).
"""

from functools import lru_cache
from struct import Struct, error
from typing import Final

from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire.command import RESPONSE, Command, Ext, ExtValue, Serialize

_FIXED: Final = Struct(">hBhiii")
_FIXED_SIZE: Final = _FIXED.size
_INT: Final = Struct(">i")
_ENTRY: Final = Struct(">hBi")  # of a name of one byte
_ENTRY_SIZE: Final = _ENTRY.size
_SHORT: Final = Struct(">h")
_LETTERS: Final = tuple(map(chr, range(128)))
_SIZES: Final = tuple(_INT.pack(size) for size in range(256))
_NAMES_CACHED_MAX: Final = 1024
_NAME_KEPT_MAX: Final = 64  # characters; longer names are a peer's, not worth any memory

_FROM_16_BITS: Final[dict[int, int]] = {
    code & 0xFFFF: int(code) for code in RequestCode if code > 0xFFFF
}
_POP_CODES: Final = frozenset(_FROM_16_BITS.values())


def decode(data: bytes | bytearray, at: int, end: int, body: bytes) -> Command:
    """The command whose header is `data[at:end]`. Raises RemoteProtocolError."""
    if end - at < _FIXED_SIZE + 4:
        raise RemoteProtocolError(f"a binary header of {end - at} bytes")
    code, language, version, opaque, flag, remark_size = _FIXED.unpack_from(data, at)
    at += _FIXED_SIZE
    remark = None
    if remark_size:
        if not 0 < remark_size <= end - at - 4:
            raise RemoteProtocolError(f"a remark of {remark_size} bytes, {end - at - 4} are there")
        remark = str(data[at : at + remark_size], "utf-8", "replace")
        at += remark_size
    (ext_size,) = _INT.unpack_from(data, at)
    at += 4
    if not 0 <= ext_size <= end - at:
        raise RemoteProtocolError(f"header fields of {ext_size} bytes, {end - at} are there")
    ext: Ext = {}
    layout = _layouts.get(ext_size)
    if layout is None or not layout.read(data, at, ext):
        try:
            _decode_ext(data, at, at + ext_size, ext, "strict")
        except UnicodeDecodeError:
            ext.clear()
            _decode_ext(data, at, at + ext_size, ext, "replace")
        else:
            _learn(bytes(data[at : at + ext_size]), ext_size)
    if code in _FROM_16_BITS and not flag & RESPONSE:
        code = _FROM_16_BITS[code]
    return Command(code, opaque, flag, ext, body, remark, language, version, Serialize.ROCKETMQ)


class _Layout:
    """The entries of one header but for their values: a Struct to cut them, and what it must find.

    A header that was decoded without a fault made it, so whatever has equal names and lengths in
    the same places is sound as well; only the text of the values is new.
    """

    __slots__ = ("cut", "heads", "names", "size")

    def __init__(self, entries: bytes) -> None:
        at, pattern, names, heads = 0, [">"], [], []
        while at < len(entries):
            name_size = _SHORT.unpack_from(entries, at)[0]
            begin = at + 6 + name_size
            value_size = _INT.unpack_from(entries, begin - 4)[0]
            names.append(str(entries[at + 2 : begin - 4], "utf-8"))
            heads.append(entries[at:begin])
            pattern.append(f"{begin - at}s{value_size}s")
            at = begin + value_size
        self.cut, self.size = Struct("".join(pattern)), len(entries)
        self.names, self.heads = tuple(names), tuple(heads)

    def read(self, data: bytes | bytearray, at: int, ext: Ext) -> bool:
        """Fill `ext`; False where these entries are laid out differently."""
        fields = self.cut.unpack_from(data, at)
        if fields[::2] != self.heads:
            return False
        try:
            values = [value.decode() for value in fields[1::2]]
        except UnicodeDecodeError:
            return False
        ext.update(zip(self.names, values, strict=True))
        return True


_layouts: Final[dict[int, _Layout]] = {}
_tries: Final[dict[int, int]] = {}
_LAYOUTS_MAX: Final = 256
_TRIES_MAX: Final = 64  # clients that disagree about one size: from then on the loop serves them


def _learn(entries: bytes, size: int) -> None:
    """Remember the layout of entries that were decoded; not where it would not last."""
    tries = _tries.get(size, 0)
    if tries >= _TRIES_MAX or len(entries) > 4096:
        return
    if tries == 0 and len(_tries) >= _LAYOUTS_MAX:
        _tries.clear()
        _layouts.clear()
    layout = _Layout(entries)
    if len(layout.names) == len(set(layout.names)) and all(
        not head.endswith(b"\0\0\0\0") for head in layout.heads
    ):
        _layouts[size] = layout
    _tries[size] = tries + 1


def _decode_ext(data: bytes | bytearray, at: int, end: int, ext: Ext, errors: str) -> None:
    """Slices stop at the end of the data, so the one check after the loop finds every overrun."""
    while at < end:
        if end - at < _ENTRY_SIZE:
            raise RemoteProtocolError(f"{end - at} bytes left over after the header fields")
        name_size, letter, value_size = _ENTRY.unpack_from(data, at)
        if name_size == 1 and letter < 128:
            name = _LETTERS[letter]
            begin = at + _ENTRY_SIZE
        else:
            begin = at + 6 + name_size
            if name_size <= 0 or begin > end:
                raise RemoteProtocolError(f"a field name of {name_size} bytes")
            name = str(data[at + 2 : begin - 4], "utf-8", errors)
            (value_size,) = _INT.unpack_from(data, begin - 4)
        at = begin + value_size
        if value_size > 0:
            ext[name] = data[begin:at].decode("utf-8", errors)
        elif value_size < 0:
            raise RemoteProtocolError(f"field {name!r}: a value of {value_size} bytes")
    if at != end:
        raise RemoteProtocolError(f"header fields run {at - end} bytes over")


def text_of(value: ExtValue) -> str:
    """A field's value as JSON and ROCKETMQ headers carry it."""
    if value is True:
        return "true"
    return "false" if value is False else str(value)


def _name_field(name: str) -> bytes:
    raw = name.encode("utf-8", "replace")
    return _SHORT.pack(len(raw)) + raw


_kept_name_field: Final = lru_cache(_NAMES_CACHED_MAX)(_name_field)


def encode_header(command: Command) -> bytes:
    """The header's bytes. Raises LocalProtocolError for what its fields cannot hold."""
    parts: list[bytes] = []
    size = 0
    try:
        for name, value in command.ext.items():
            text = value if type(value) is str else text_of(value)
            raw = text.encode("utf-8", "replace")
            if 0 < len(name) <= _NAME_KEPT_MAX:
                name_field = _kept_name_field(name)
            elif name:
                name_field = _name_field(name)
            else:
                continue  # a peer's field, relayed: no reader takes a name of no bytes
            count = len(raw)
            parts += name_field, _SIZES[count] if count < 256 else _INT.pack(count), raw
            size += len(name_field) + 4 + count
        remark = command.remark.encode("utf-8", "replace") if command.remark else b""
        fixed = _FIXED.pack(
            _to_16_bits(command.code),
            command.language,
            command.version,
            command.opaque,
            command.flag,
            len(remark),
        )
    except error as problem:
        raise LocalProtocolError(f"no ROCKETMQ header for {command!r}") from problem
    return b"".join((fixed, remark, _INT.pack(size), *parts))


def _to_16_bits(code: int) -> int:
    return code & 0xFFFF if code in _POP_CODES else code
