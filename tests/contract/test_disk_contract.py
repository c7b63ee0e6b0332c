"""Every Disk against the same suite: the real one with and without RWF_NOWAIT, the simulator, and
the folder of a test.

The real ones use worker threads, so none of this runs in virtual time; the simulated device has no
latency here instead.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_trio.runtime.disk import RealDisk
from broker_trio.testing.contracts.disk import DiskContract
from broker_trio.testing.folder_disk import FolderDisk
from broker_trio.testing.sim_disk import SimDisk


class TestRealDisk(DiskContract):
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[RealDisk]:
        disk = RealDisk(str(tmp_path / "new" / "root"))
        yield disk
        disk.close()


class TestRealDiskWithoutNowait(DiskContract):
    """As on tmpfs and overlayfs, or a system other than Linux."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[RealDisk]:
        disk = RealDisk(str(tmp_path), nowait=False)
        yield disk
        disk.close()


class TestSimDisk(DiskContract):
    @pytest.fixture
    def disk(self) -> SimDisk:
        disk = SimDisk(random.Random(1))
        disk.slow = 0.0
        return disk


class TestColdSimDisk(DiskContract):
    @pytest.fixture
    def disk(self) -> SimDisk:
        disk = SimDisk(random.Random(2), cold=0.5)
        disk.slow = 0.0
        return disk


class TestFolderDisk(DiskContract):
    """What an embedded broker has in a test's own folder."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[FolderDisk]:
        disk = FolderDisk(str(tmp_path))
        yield disk
        disk.crash()
