"""Windows: never called warm when a page is missing, never longer than the file; and how many files may stay open for asking."""

from __future__ import annotations

import mmap
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oca.store.descriptors import Asking, Descriptor
from oca.worker.openfiles import FEWEST_EXTENTS, MOST_EXTENTS, RESERVED_FILES, extents_to_keep_open
from oca.worker.reading import ShortFile, read_all
from oca.worker.residency import WINDOW_BYTES, Residency, Window

PAGE = mmap.PAGESIZE
FILE_BYTES = 3 * WINDOW_BYTES + 1234
"""The last page is a partial one."""


def drop(file: Descriptor) -> None:
    os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def opened(path: Path, length: int) -> Descriptor:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    return Descriptor(fd, 0, 1, length)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Descriptor]:
    path = tmp_path / "extent"
    path.write_bytes(random.Random(7).randbytes(FILE_BYTES))
    held = opened(path, FILE_BYTES)
    os.fsync(held.fd)
    drop(held)
    if Residency().check(held, 0, 10) is Window.WARM:
        pytest.skip("this filesystem lives in memory")
    yield held
    held.close()


class Refused(Descriptor):
    """An extent that the kernel does not map."""

    def asking(self, file_bytes: int) -> Asking | None:
        return None


def test_a_window_is_warm_after_it_was_read_and_cold_after_it_was_dropped(file: Descriptor) -> None:
    residency = Residency()
    read_all(file.fd, 5000, 1)
    assert residency.check(file, 4096, 4096) is Window.WARM
    assert residency.check(file, 0, WINDOW_BYTES) is Window.COLD, "one page in memory says nothing of the rest"
    assert residency.read_now(file.fd, 0, WINDOW_BYTES) is None
    whole = read_all(file.fd, 100, WINDOW_BYTES)
    assert residency.check(file, 100, WINDOW_BYTES) is Window.WARM
    assert bytes(residency.read_now(file.fd, 100, WINDOW_BYTES) or b"") == bytes(whole)
    drop(file)
    assert residency.check(file, 100, WINDOW_BYTES) is Window.COLD


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(st.sets(st.integers(0, FILE_BYTES // PAGE), max_size=40), st.integers(0, FILE_BYTES - 1), st.data())
def test_a_window_is_warm_exactly_when_every_page_of_it_is_in_memory(
    file: Descriptor, pages: set[int], offset: int, data: st.DataObject
) -> None:
    drop(file)
    for page in pages:
        read_all(file.fd, page * PAGE, 1)
    length = data.draw(st.integers(1, min(WINDOW_BYTES, FILE_BYTES - offset)))
    wanted = set(range(offset // PAGE, (offset + length - 1) // PAGE + 1))
    found = Residency().check(file, offset, length)
    assert found is (Window.WARM if wanted <= pages else Window.COLD)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(st.sets(st.integers(0, 40)), st.integers(0, 30))
def test_without_a_mapping_the_answer_is_the_same(file: Descriptor, pages: set[int], first: int) -> None:
    drop(file)
    for page in pages:
        read_all(file.fd, page * PAGE, 1)
    refused = Refused(file.fd, 0, 1, FILE_BYTES)
    residency = Residency()
    # A read without waiting may start one that is served later, also that of an example before: the mapping is asked before and behind.
    before = residency.check(file, first * PAGE, 10 * PAGE)
    by_reading = residency.check(refused, first * PAGE, 10 * PAGE)
    assert by_reading in (before, residency.check(file, first * PAGE, 10 * PAGE))


def test_a_window_behind_the_first_gigabyte_and_the_last_partial_page_are_asked_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "extent"
    length = 3 * (1 << 30) + 1000
    with path.open("wb") as sparse:
        sparse.truncate(length)
    file = opened(path, length)
    try:
        residency = Residency()
        if residency.check(file, 0, 10) is Window.WARM:
            pytest.skip("this filesystem lives in memory")
        assert residency.check(file, length - WINDOW_BYTES, WINDOW_BYTES) is Window.COLD
        read_all(file.fd, length - WINDOW_BYTES, WINDOW_BYTES)
        assert residency.check(file, length - WINDOW_BYTES, WINDOW_BYTES) is Window.WARM
        assert residency.check(file, length - 1, 1) is Window.WARM
        assert residency.check(file, length - 1, 2) is Window.SHORT
        assert residency.check(file, (2 << 30) - 5, 10) is Window.COLD
    finally:
        file.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(st.integers(0, FILE_BYTES + WINDOW_BYTES), st.integers(1, WINDOW_BYTES))
def test_a_window_that_reaches_behind_the_end_is_short_however_warm(file: Descriptor, offset: int, length: int) -> None:
    residency = Residency()
    is_short = offset + length > FILE_BYTES
    assert (residency.check(file, offset, length) is Window.SHORT) is is_short
    if is_short:
        with pytest.raises(ShortFile):
            read_all(file.fd, offset, length)


def test_a_file_that_became_shorter_or_grew_behind_its_mapping_is_asked_by_its_length_of_now(tmp_path: Path) -> None:
    path = tmp_path / "extent"
    path.write_bytes(bytes(10 * PAGE))
    file = opened(path, 10 * PAGE)
    try:
        residency = Residency()
        assert residency.check(file, 9 * PAGE, PAGE) is Window.WARM
        os.truncate(path, 5 * PAGE)
        assert residency.check(file, 9 * PAGE, PAGE) is Window.SHORT
        assert residency.check(file, 4 * PAGE, PAGE) is Window.WARM
        path.write_bytes(bytes(20 * PAGE))
        assert residency.check(file, 19 * PAGE, PAGE) is Window.WARM
    finally:
        file.close()


def test_what_lives_in_memory_counts_as_resident() -> None:
    file = Descriptor(os.memfd_create("extent"), 0, 1, 3 * PAGE)
    os.pwrite(file.fd, bytes(3 * PAGE), 0)
    residency = Residency()
    assert residency.check(file, 0, 3 * PAGE) is Window.WARM
    assert residency.check(Refused(file.fd, 0, 1, 3 * PAGE), 0, 3 * PAGE) is Window.WARM
    assert bytes(residency.read_now(file.fd, 0, 3 * PAGE) or b"") == bytes(3 * PAGE)
    file.close()


def test_a_closed_extent_leaves_neither_descriptor_nor_mapping(tmp_path: Path) -> None:
    path = tmp_path / "extent"
    path.write_bytes(bytes(PAGE))
    file = opened(path, PAGE)
    assert Residency().check(file, 0, PAGE) is Window.WARM
    assert str(path) in Path("/proc/self/maps").read_text()
    file.close()
    assert str(path) not in Path("/proc/self/maps").read_text()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.fd)


@given(st.integers(64, 1 << 21), st.integers(1, 100_000))
def test_extents_kept_open_leave_room_for_every_connection_where_there_is_any(limit: int, connections: int) -> None:
    kept = extents_to_keep_open(limit, connections)
    assert FEWEST_EXTENTS <= kept <= MOST_EXTENTS
    assert kept == FEWEST_EXTENTS or kept + connections + RESERVED_FILES + limit // 16 <= limit


def test_a_worker_raises_its_soft_limit_to_the_hard_one() -> None:
    script = (
        "import os, resource\n"
        "from oca.worker.openfiles import raise_open_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "print(raise_open_files(20_000), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 4096
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["4096", "4096", "4096"]
