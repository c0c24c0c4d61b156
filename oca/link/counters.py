"""What workers count, in shared memory: one line of 64-bit words per worker that may live at once, one word per row of `Count`.

A line has one writer, a word is read and written whole; the supervisor sums the lines. Counters survive their worker: a
replacement in the line counts on, so that a sum never falls; gauges are set to 0 when a worker starts. Behind the lines lies the table of
sessions that some worker has seen (`seen`), which all of them write.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import zlib
from enum import Enum

from oca.http.reasons import Closing, Handshake, HintFate, Outcome, Pressure
from oca.link.seen import TABLE_WORDS, SeenSessions

_WORD = 8


class CounterKind(Enum):
    """How the words of all slots become one figure."""

    COUNTER = "counter"
    """Their sum, which never falls."""
    GAUGE = "gauge"
    """Their sum."""
    LEAST = "least"
    """The least that is not 0."""
    MOST = "most"


class Count(Enum):
    """A metric without labels: (name, kind, help text)."""

    CLIENT_BYTES = ("lowtide_oca_client_bytes_total", CounterKind.COUNTER, "Body bytes sent to players")
    PEER_BYTES = ("lowtide_oca_peer_bytes_total", CounterKind.COUNTER, "Body bytes sent to other appliances")
    HIT_BYTES = ("lowtide_oca_hit_bytes_total", CounterKind.COUNTER, "Body bytes sent without asking the keeper")
    MISS_BYTES = ("lowtide_oca_miss_bytes_total", CounterKind.COUNTER, "Body bytes of blocks the keeper was asked for")
    ACCEPTED = ("lowtide_oca_connections_accepted_total", CounterKind.COUNTER, "Connections accepted")
    CONNECTIONS = ("lowtide_oca_connections", CounterKind.GAUGE, "Connections open now")
    COLD_WINDOWS = (
        "lowtide_oca_cold_windows_total",
        CounterKind.COUNTER,
        "Send windows that were not in memory and were read by a disk's thread pool first",
    )
    UNPROVEN_WINDOWS = (
        "lowtide_oca_unproven_windows_total",
        CounterKind.COUNTER,
        "Send windows in memory, of blocks that a disk's thread pool compared first: none was sent since their extent was opened",
    )
    WARM_WINDOWS = ("lowtide_oca_warm_windows_total", CounterKind.COUNTER, "Send windows found in memory")
    WANTS = (
        "lowtide_oca_wants_total",
        CounterKind.COUNTER,
        "Runs of blocks that requests waited for; who wants the same shares one ask of the keeper",
    )
    WAITING = ("lowtide_oca_waiting", CounterKind.GAUGE, "Requests that wait for the keeper now")
    REASKED = ("lowtide_oca_reasked_total", CounterKind.COUNTER, "Wants sent again after the keeper went away")
    KEEPER_LOST = ("lowtide_oca_keeper_lost_total", CounterKind.COUNTER, "Times the link to the keeper broke")
    KEEPER_LINKED = ("lowtide_oca_keeper_linked", CounterKind.GAUGE, "Workers that are linked to the keeper")
    TOKENS_VERIFIED = ("lowtide_oca_tokens_verified_total", CounterKind.COUNTER, "Token signatures verified")
    TOKENS_REMEMBERED = (
        "lowtide_oca_tokens_remembered_total",
        CounterKind.COUNTER,
        "Requests whose token was verified before",
    )
    SHORT_WAY = (
        "lowtide_oca_short_way_total",
        CounterKind.COUNTER,
        "Requests of the usual kind that were answered on the short way, from what was parsed and looked up before",
    )
    ANNOUNCED = ("lowtide_oca_announced_extents", CounterKind.GAUGE, "Extents known from announcements only")
    OPEN_FILES = ("lowtide_oca_open_files", CounterKind.GAUGE, "Extent files held open")
    LOOKUP_FAILURES = ("lowtide_oca_lookup_failures", CounterKind.GAUGE, "Index look-ups that failed, since start")
    DISK_ERRORS = (
        "lowtide_oca_disk_errors_total",
        CounterKind.COUNTER,
        "Extents that could not be opened and windows that could not be read; the keeper is told and judges the disk",
    )
    VERIFIED_BLOCKS = (
        "lowtide_oca_verified_blocks_total",
        CounterKind.COUNTER,
        "Blocks that were read from a disk and found to be what was stored, before they were sent",
    )
    BAD_BLOCKS = (
        "lowtide_oca_bad_blocks_total",
        CounterKind.COUNTER,
        "Blocks that were read from a disk and were not what was stored; not sent, and the keeper quarantines them",
    )
    READY = ("lowtide_oca_workers_ready", CounterKind.GAUGE, "Workers that serve")
    TLS_KERNEL = (
        "lowtide_oca_tls_kernel_total",
        CounterKind.COUNTER,
        "TLS connections whose bytes the kernel encrypts",
    )
    TLS_ASKS_KERNEL = (
        "lowtide_oca_tls_asks_kernel",
        CounterKind.GAUGE,
        "Workers that ask the kernel to encrypt; 0 means OpenSSL in user space",
    )
    TLS_RESUMES = (
        "lowtide_oca_tls_resumes",
        CounterKind.GAUGE,
        "Workers whose TLS sessions resume at every other worker",
    )
    CERTIFICATE_EXPIRES = (
        "lowtide_oca_tls_certificate_expires_seconds",
        CounterKind.LEAST,
        "When the first of the players' certificates in use expires, in seconds since the epoch; 0 without any",
    )
    CERTIFICATES_REFUSED = (
        "lowtide_oca_tls_certificates_refused",
        CounterKind.MOST,
        "Players' certificates whose files cannot be used now; what was loaded before stays in use",
    )
    UNREPORTED = (
        "lowtide_oca_unreported_bytes_total",
        CounterKind.COUNTER,
        "Bytes served whose key could not be kept for the report while the keeper was away",
    )
    UNACKNOWLEDGED = (
        "lowtide_oca_unacknowledged_bytes_total",
        CounterKind.COUNTER,
        "Body bytes that were handed over and had not arrived when the client's connection ended; taken back from the file's account",
    )
    LOG_RECORDS = ("lowtide_oca_access_log_records_total", CounterKind.COUNTER, "Records written to the access log")
    LOG_BYTES = ("lowtide_oca_access_log_bytes_total", CounterKind.COUNTER, "Bytes written to the access log")
    LOG_DROPPED = (
        "lowtide_oca_access_log_dropped_total",
        CounterKind.COUNTER,
        "Records dropped because the logger was behind, or its disk took no more",
    )
    LOG_TORN = (
        "lowtide_oca_access_log_torn_bytes_total",
        CounterKind.COUNTER,
        "Bytes of records that a killed worker left unfinished",
    )
    SESSIONS = ("lowtide_oca_sessions", CounterKind.GAUGE, "Sessions with a connection, summed over workers")
    SHEDDING = ("lowtide_oca_workers_shedding", CounterKind.GAUGE, "Workers that take no new sessions: over capacity")
    PACED = ("lowtide_oca_pace_changes_total", CounterKind.COUNTER, "Times a connection's pace was set or lifted")
    EGRESS_TAKEN = (
        "lowtide_oca_egress_capped_bytes_total",
        CounterKind.COUNTER,
        "Body bytes taken out of the egress cap; 0 without one",
    )
    EGRESS_ASKERS = (
        "lowtide_oca_egress_askers",
        CounterKind.GAUGE,
        "Bodies that asked for a part of the egress cap during the last twentieth of a second",
    )
    PASSED_BYTES = (
        "lowtide_oca_passed_bytes_total",
        CounterKind.COUNTER,
        "Body bytes sent that passed through without being stored",
    )
    PASSING = ("lowtide_oca_passing", CounterKind.GAUGE, "Exchanges that pass through without being stored, now")
    ERRORS = ("lowtide_oca_worker_errors_total", CounterKind.COUNTER, "Errors nobody expected, logged with traceback")

    def __init__(self, metric: str, kind: CounterKind, text: str) -> None:
        self.metric = metric
        self.kind = kind
        self.text = text
        self.at = len(type(self).__members__)
        """Position of its word in a line."""


_COUNTS = tuple(Count)
_OUTCOMES = tuple(Outcome)
_CLOSINGS = tuple(Closing)
_HANDSHAKES = tuple(Handshake)
_PRESSURES = tuple(Pressure)
_FATES = tuple(HintFate)
Reason = Outcome | Closing | Handshake | Pressure | HintFate
_REASONS: tuple[Reason, ...] = (*_OUTCOMES, *_CLOSINGS, *_HANDSHAKES, *_PRESSURES, *_FATES)
_AT = {row: len(_COUNTS) + number for number, row in enumerate(_REASONS)}
LINE_WORDS = len(_COUNTS) + len(_AT)
_NAMES = [*(row.metric for row in _COUNTS), *(f"{type(row).__name__}.{row.name}" for row in _REASONS)]
LAYOUT = zlib.crc32("\n".join(_NAMES).encode())
"""Which word counts what. A worker of another version than its supervisor (a rolling restart with new code) must not count into other words."""
_HIT = _AT[Outcome.HIT]
_CLIENT_BYTES = Count.CLIENT_BYTES.at
_HIT_BYTES = Count.HIT_BYTES.at
_WARM = Count.WARM_WINDOWS.at
_REMEMBERED = Count.TOKENS_REMEMBERED.at
_SHORT_WAY = Count.SHORT_WAY.at


class ReasonMetric(Enum):
    """A metric with one label whose values are the words of a closed table: (name, label, help text, rows)."""

    REQUESTS = ("lowtide_oca_requests_total", "outcome", "Requests by how they ended", _OUTCOMES)
    CLOSED = ("lowtide_oca_connections_closed_total", "reason", "Connections by why they were closed", _CLOSINGS)
    HANDSHAKES = ("lowtide_oca_tls_handshakes_total", "end", "TLS handshakes of players by how they ended", _HANDSHAKES)
    SHED = (
        "lowtide_oca_sessions_shed_total",
        "reason",
        "Requests of new sessions refused, by what was over capacity",
        _PRESSURES,
    )
    HINTS = (
        "lowtide_oca_hints_total",
        "fate",
        "Prefetch hints of players that were looked at, by what became of them",
        _FATES,
    )

    def __init__(self, metric: str, label: str, text: str, rows: tuple[Reason, ...]) -> None:
        self.metric = metric
        self.label = label
        self.text = text
        self.rows = rows


class Counters:
    """All lines. `create` in the supervisor, `attach` in a worker."""

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self.slots = slots
        self._mapping = mmap.mmap(fd, _bytes_for(slots))
        self._words = memoryview(self._mapping).cast("Q")

    @classmethod
    def create(cls, slots: int) -> Counters:
        fd = os.memfd_create("lowtide-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.posix_fallocate(fd, 0, _bytes_for(slots))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        made = cls(fd, slots)
        made._words[-1] = LAYOUT
        return made

    @classmethod
    def attach(cls, fd: int) -> Counters:
        """Raises ValueError when the memory was made by another version."""
        size = os.fstat(fd).st_size
        lines, rest = divmod(size - _bytes_for(0), LINE_WORDS * _WORD)
        if lines < 1 or rest:
            raise ValueError(f"descriptor {fd} holds {size} bytes: no lines of {LINE_WORDS} counters")
        found = cls(fd, lines)
        if found._words[-1] != LAYOUT:
            raise ValueError(f"descriptor {fd} holds counters of another version: restart the whole appliance")
        return found

    def seen(self) -> SeenSessions:
        """The table that all workers share."""
        return SeenSessions(self._words[self.slots * LINE_WORDS : -1])

    def line(self, slot: int) -> CounterLine:
        return CounterLine(self._words[slot * LINE_WORDS : (slot + 1) * LINE_WORDS])

    def total(self, row: Count | Reason) -> int:
        """All slots together, as the row's kind says."""
        at = row.at if isinstance(row, Count) else _AT[row]
        found = [int(self._words[slot * LINE_WORDS + at]) for slot in range(self.slots)]
        match row.kind if isinstance(row, Count) else CounterKind.COUNTER:
            case CounterKind.LEAST:
                return min(filter(None, found), default=0)
            case CounterKind.MOST:
                return max(found)
            case _:
                return sum(found)

    def by_reason(self, metric: ReasonMetric) -> list[tuple[str, int]]:
        """(word, sum) of every row."""
        return [(row.word if isinstance(row, Outcome) else row.value, self.total(row)) for row in metric.rows]

    def forget(self, slot: int) -> None:
        """The worker of a slot is gone: its gauges are 0."""
        line = self.line(slot)
        line.reset_gauges()
        line.release()


class CounterLine:
    """One worker's line."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def add(self, row: Count, amount: int = 1) -> None:
        self._words[row.at] += amount

    def ended(self, why: Reason) -> None:
        """One more request, connection, handshake, session or hint that ended so."""
        self._words[_AT[why]] += 1

    def hit(self, sent: int) -> None:
        """A request that the short way answered from memory: what `add` and `ended` would count, in one call."""
        words = self._words
        words[_HIT] += 1
        words[_CLIENT_BYTES] += sent
        words[_HIT_BYTES] += sent
        words[_WARM] += 1
        words[_REMEMBERED] += 1
        words[_SHORT_WAY] += 1

    def set(self, row: Count, value: int) -> None:
        self._words[row.at] = value

    def reset_gauges(self) -> None:
        for row in _COUNTS:
            if row.kind is not CounterKind.COUNTER:
                self._words[row.at] = 0

    def release(self) -> None:
        self._words.release()


def _bytes_for(lines: int) -> int:
    return (lines * LINE_WORDS + TABLE_WORDS + 1) * _WORD
