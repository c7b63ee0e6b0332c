"""A folder of equally long files that are one long address space.

    commitlog/   00000000000000000000   00000000001073741824   00000000002147483648
                 |<- segment_bytes --->|<- segment_bytes --->|<- segment_bytes --->|
                 ^ min_offset                                                       ^ capacity_end

A file is named by the offset of its first byte, 20 digits. It has its full length from the start:
the length is set, no space is taken (Apache's broker refuses a folder with any other length).

What a crash may leave, and what loading makes of it:

    a file too short             its length was not durable yet, or a cut was interrupted: it reads
                                 as zero from there on, and `repair` sets the length again
    a file missing in between    entries of new files were not durable, and reached the disk out of
                                 order: it and what follows are kept apart, `behind_gap`
    any other length or name     `StoreCorrupt`: somebody else wrote here

The first two are harmless only behind everything that was known to be durable. `missing_from` says
where they begin; recovery compares, and only then lets anything be repaired or dropped.

A reader pins the segment that it reads from: deleting unlinks at once, but the descriptor is closed
only when the last reader has left, so that its number cannot become somebody else's meanwhile.
"""

import re
from typing import Final, final

from broker_trio.model.errors import StoreCorrupt
from broker_trio.runtime.seams import Disk, File

SEGMENT_NAME: Final = re.compile(r"[0-9]{20}")
OPEN_SEGMENTS_MAX: Final = 4096
"""Descriptors of one folder: 4 TiB of log. Beyond it the oldest idle one is closed first."""


def segment_name(base: int) -> str:
    """The file name of the segment that begins at `base`."""
    return f"{base:020d}"


@final
class Segment:
    """One file: the bytes [base, end) of the address space."""

    __slots__ = ("_disk", "_file", "base", "dropped", "end", "path", "pins")

    def __init__(self, disk: Disk, path: str, base: int, size: int) -> None:
        self._disk, self.path, self.base, self.end = disk, path, base, base + size
        self._file: File | None = None
        self.pins = 0
        self.dropped = False

    @property
    def file(self) -> File:
        """Opened when first needed; `FileNotFoundError` where the segment was dropped."""
        if self._file is None:
            self._file = self._disk.open(self.path)
        return self._file

    @property
    def modified_ms(self) -> int:
        """When it was last written: its age, as Apache's retention counts it."""
        return self._disk.stat(self.path).modified_ms

    def created(self, file: File) -> None:
        """The file that was just made for this segment."""
        self._file = file

    def unpin(self) -> None:
        """A reader leaves; the last one of a dropped segment closes it."""
        self.pins -= 1
        if self.dropped and not self.pins:
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@final
class Segments:
    """The segments of one folder in order, without gaps."""

    def __init__(self, disk: Disk, folder: str, segment_bytes: int) -> None:
        self._disk = disk
        self.folder, self.segment_bytes = folder, segment_bytes
        self.all: list[Segment] = []
        self.behind_gap: list[Segment] = []
        self._short: dict[int, int] = {}  # base of a file that is too short → end of its bytes
        self._begins_at = 0  # where the log begins while it has no segment

    def __len__(self) -> int:
        return len(self.all)

    @property
    def min_offset(self) -> int:
        return self.all[0].base if self.all else 0

    @property
    def capacity_end(self) -> int:
        """Where the next segment would begin."""
        return self.all[-1].end if self.all else 0

    @property
    def missing_from(self) -> int | None:
        """The first byte that should be in a file and is not; None where all is there."""
        found = list(self._short.values())
        if self.behind_gap:
            found.append(self.all[-1].end if self.all else self._begins_at)
        return min(found, default=None)

    def expect(self, offset: int) -> None:
        """The log is known to hold, or to end at, `offset`: what begins behind it is behind a gap.

        Retention never deletes as far as that, but the name of a first segment can be lost.
        """
        if self.all and self.all[0].base > offset:
            self.behind_gap = [*self.all, *self.behind_gap]
            self.all = []
            self._begins_at = offset - offset % self.segment_bytes

    def load(self) -> None:
        """Take the folder as it is; changes nothing. Raises `StoreCorrupt`."""
        assert not self.all, "loaded twice"
        for name in self._disk.list(self.folder):
            path = f"{self.folder}/{name}"
            if not SEGMENT_NAME.fullmatch(name):
                raise StoreCorrupt(f"{self._disk.root}/{path}", 0, "not a segment's name")
            base, size = int(name), self._disk.stat(path).size
            if base % self.segment_bytes or size > self.segment_bytes:
                raise StoreCorrupt(
                    f"{self._disk.root}/{path}", size,
                    f"segments have {self.segment_bytes} bytes and begin at multiples of that",
                )  # fmt: skip
            if size < self.segment_bytes:
                self._short[base] = base + size
            self._place(Segment(self._disk, path, base, self.segment_bytes))

    def repair(self) -> list[Segment]:
        """Give short files their length; which ones were touched."""
        assert not self.behind_gap, "drop what lies behind the gap first"
        repaired = [segment for segment in self.all if segment.base in self._short]
        for segment in repaired:
            segment.file.truncate(self.segment_bytes)
        self._short.clear()
        return repaired

    def _place(self, segment: Segment) -> None:
        if self.behind_gap or (self.all and segment.base != self.all[-1].end):
            self.behind_gap.append(segment)
        else:
            self.all.append(segment)

    def find(self, offset: int) -> Segment | None:
        """The segment that holds the byte at `offset`."""
        if not self.all:
            return None
        index = (offset - self.all[0].base) // self.segment_bytes
        return self.all[index] if 0 <= index < len(self.all) else None

    def create(self, base: int) -> Segment:
        """Make the next one. Durable after its file and the folder are synced. Raises `OSError`."""
        assert base % self.segment_bytes == 0, f"segments do not begin at {base}"
        assert not self.all or base == self.capacity_end, f"{base} leaves a gap"
        segment = Segment(
            self._disk, f"{self.folder}/{segment_name(base)}", base, self.segment_bytes
        )
        file = self._disk.open(segment.path, create=True)
        segment.created(file)
        try:
            file.truncate(self.segment_bytes)
        except OSError:
            segment.close()
            raise
        self.all.append(segment)
        self._close_idle()
        return segment

    def _close_idle(self) -> None:
        """Keep the number of open files bounded; an idle one opens again when it is read."""
        surplus = len(self.all) - OPEN_SEGMENTS_MAX
        for segment in self.all[: max(0, surplus)]:
            if not segment.pins:
                segment.close()

    def drop_first(self) -> Segment:
        """Unlink the oldest one; its bytes are gone for new readers."""
        assert len(self.all) > 1, "the newest segment stays"
        return self._drop(self.all.pop(0))

    def drop_last(self) -> Segment:
        """Unlink the newest one, or the newest of those behind a gap."""
        return self._drop(self.behind_gap.pop() if self.behind_gap else self.all.pop())

    def _drop(self, segment: Segment) -> Segment:
        segment.dropped = True
        self._short.pop(segment.base, None)
        self._disk.unlink(segment.path)
        if not segment.pins:
            segment.close()
        return segment

    def close(self) -> None:
        for segment in self.all:
            segment.close()
