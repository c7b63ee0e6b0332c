"""Opening the index: to which state its files can be brought, and where in the log that is.

    journal fits the files            its state, exactly: its slots are written once more
    fits, but files are missing       the files before the first missing one, less the last record
    somebody else wrote, clean stop   the files as they are (Apache's broker closed them)
    somebody else wrote, unclean      all but the newest file, less the last record

Less the last record: a lost file may have begun with some of its keys. It comes again from the log
with all of them, and what was put before it stays. So after dispatch the index is, byte by byte,
what it would be if nothing had happened.

Files that a journal dropped, and files that none has reached (they have no header yet), go first.
"""

from typing import final

import structlog

from broker_trio.model.errors import StoreCorrupt
from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot
from broker_trio.store.index_file import INDEX_FOLDER, Header, IndexFile, file_size
from broker_trio.store.index_journal import (
    INDEX_JOURNAL_PATH,
    Journal,
    first_missing,
    is_ours,
    is_whole,
    replay,
)
from broker_trio.store.open_files import OpenFiles

log = structlog.get_logger()


@final
class IndexStart:
    """One start; fills `files`, oldest first, the newest one ready to be written."""

    def __init__(
        self, disk: Disk, opened: OpenFiles, files: list[IndexFile], slots: int, items: int
    ) -> None:
        self._disk, self._open, self._files = disk, opened, files
        self._slots, self._items = slots, items
        self._journal = Journal()

    def load(self) -> None:
        """Find the files. Raises `StoreCorrupt` where they have another setting's length."""
        size_wanted = file_size(self._slots, self._items)
        for name in self._disk.list(INDEX_FOLDER):
            path = f"{INDEX_FOLDER}/{name}"
            size = self._disk.stat(path).size
            if not name.isdigit() or size > size_wanted:
                problem = f"an index file has {size_wanted} bytes; it may be deleted, with its like"
                raise StoreCorrupt(f"{self._disk.root}/{path}", size, problem)
            file = IndexFile(self._open, name, self._slots, self._items)
            if size < size_wanted:
                self._open.open_to_write(file.path).truncate(size_wanted)
            file.load_header()
            self._files.append(file)
        self._journal = snapshot.load(self._disk, INDEX_JOURNAL_PATH, Journal) or Journal()

    def recover(self, *, clean: bool, marks_hold: bool) -> tuple[int, Journal]:
        """Where the state ends in the log, and the journal that holds. Blocks; raises `OSError`."""
        journal, files = self._journal, self._files
        self._drop_unfinished()
        if (
            marks_hold
            and is_ours(journal, files, self._slots, self._items)
            and is_whole(journal, files)
        ):
            replay(journal, files)
            missing = first_missing(journal, files)
            if missing is None:
                if files:
                    files[-1].load_slots()
                return journal.physical_end, journal
            log.warning("index.files_missing", first=missing)
            while files and files[-1].name > missing:
                self._drop_newest()
            begin = self._step_back()
        elif clean:
            begin = self._take_over()
        else:
            log.warning("index.journal_void", files=len(files))
            if files:
                self._drop_newest()
            begin = self._step_back()
        if self._disk.exists(INDEX_JOURNAL_PATH):
            self._disk.unlink(INDEX_JOURNAL_PATH)
        return begin, Journal(physical_end=-1)

    def _drop_unfinished(self) -> None:
        if self._journal.dropped:  # gone already, perhaps, but not for good: the next journal
            self._open.touch_folder(INDEX_FOLDER)  # does not name them any more
        for file in [file for file in self._files if file.name in self._journal.dropped]:
            self._files.remove(file)
            self._open.unlink(INDEX_FOLDER, file.path)
        while self._files and self._files[-1].header == Header():
            if self._files[-1].name in self._journal.headers:
                break
            self._drop_newest()

    def _drop_newest(self) -> None:
        self._open.unlink(INDEX_FOLDER, self._files.pop().path)

    def _take_over(self) -> int:
        """Go on with the newest file as it is; an offset behind its last record's begin."""
        if not self._files:
            return 0
        file = self._files[-1]
        file.load_slots()
        return file.header.end_physical + 1 if file.header.item_count > 1 else 0

    def _step_back(self) -> int:
        """Take out the last record; its offset."""
        while self._files:
            file = self._files[-1]
            file.load_slots()
            end = file.header.end_physical
            if file.header.item_count > 1 and file.remove_from(end):
                return end
            self._drop_newest()
        return 0
