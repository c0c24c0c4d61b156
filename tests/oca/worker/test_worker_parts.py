"""The worker's parts that decide, each alone: announcements, look-up of pieces, ledger, tokens, CDN-Loop."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import certificates
from contracts.digests import BLOCK_BYTES
from contracts.enrolment import PeerKind, san_uri
from contracts.keys import KeySet, PublicKey
from contracts.tokens.claims import MediaClaims, TokenRefusal, TokenRefused
from contracts.tokens.jwt import verify
from oca.link.files import Contact
from oca.link.messages import Ready, Want
from oca.link.worker import Ask
from oca.store.descriptors import Descriptor
from oca.store.extents import ExtentRecord
from oca.store.purge import PurgeMode
from oca.worker.accounting import KEYS_PER_FRAME, Accounting
from oca.worker.holdings import Held, Holdings, Missing, Version
from oca.worker.offline import OfflineRule
from oca.worker.tls import PeerTls, appliance_of, has_passed
from oca.worker.tokens import Tokens
from tests.oca.worker.worker_harness import Keys

BLOCKS = 4
EXTENT = BLOCKS * BLOCK_BYTES


class Files:
    """Open files of a store that has none: descriptor numbers are extent ids."""

    def __init__(self) -> None:
        self.held = 0
        self.gone: set[int] = set()

    def acquire(self, disk: int, extent_id: int, length: int) -> Descriptor | None:
        if extent_id in self.gone:
            return None
        self.held += 1
        return Descriptor(extent_id, disk, extent_id, length)

    def release(self, held: Descriptor) -> None:
        self.held -= 1


class Store:
    """An index in a dictionary."""

    def __init__(self) -> None:
        self.descriptors = Files()
        self.records: dict[int, ExtentRecord] = {}
        self.purged = False
        self.epoch = 0
        self.touched: list[int] = []

    def lookup(self, hashed: bytes, extent_number: int) -> ExtentRecord | None:
        return self.records.get(extent_number)

    def touch(self, record: ExtentRecord, epoch: int) -> None:
        self.touched.append(record.extent_id)

    def touch_extent(self, disk: int, slot: int, extent_id: int, epoch: int) -> None:
        self.touched.append(extent_id)

    def judge(self, key: str, record: ExtentRecord, held: Descriptor | None = None) -> PurgeMode | None:
        return PurgeMode.HARD if self.purged else None

    @property
    def purge_epoch(self) -> int:
        return 0

    def judge_epoch(self, key: str, stored_epoch: int) -> PurgeMode | None:
        return PurgeMode.HARD if stored_epoch < self.epoch else None

    def recall(self, place: bytes) -> Descriptor | None:
        """It remembers nothing."""
        return None

    def remember(self, place: bytes, record: ExtentRecord) -> Descriptor | None:
        return self.descriptors.acquire(record.disk, record.extent_id, record.length)

    def put(self, number: int, bits: int, size: int, version: bytes = b"v" * 32, extent_id: int = 0) -> None:
        length = min(EXTENT, size - number * EXTENT)
        self.records[number] = ExtentRecord(
            0, extent_id or 100 + number, number, version, size, length, bits, b"", number, 0, 0, 0.0
        )


def wanted(size: int) -> Version:
    return Version("k", b"h" * 20, b"v" * 32, size)


def ready(first: int, last: int, size: int, extent_id: int = 7, version: bytes = b"v" * 32) -> Ready:
    return Ready(0, 0, extent_id, first // BLOCKS, first, last, version, size, 3)


@given(
    st.integers(1, 3 * EXTENT),
    st.lists(st.integers(0, 15), min_size=3, max_size=3),
    st.lists(st.integers(0, 15), min_size=3, max_size=3),
    st.data(),
)
def test_pieces_and_missing_runs_tile_every_range(
    size: int, indexed: list[int], announced: list[int], data: st.DataObject
) -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    extents = -(-size // EXTENT)
    present: set[int] = set()
    for number in range(extents):
        blocks = min(BLOCKS, -(-(size - number * EXTENT) // BLOCK_BYTES))
        if data.draw(st.booleans()):
            store.put(number, indexed[number] & ((1 << blocks) - 1), size)
            present |= {number * BLOCKS + b for b in range(blocks) if indexed[number] >> b & 1}
        for b in range(blocks):
            if announced[number] >> b & 1:
                at = number * BLOCKS + b
                holdings.announcements.add("k", ready(at, at, size, extent_id=100 + number))
                present.add(at)
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    at = first
    while at <= last:
        piece = holdings.piece(wanted(size), at, last)
        if isinstance(piece, Held):
            stop = at + piece.length
            assert piece.start == at % EXTENT
            assert stop <= last + 1
            assert {b in present for b in range(at // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1)} == {True}
            holdings.release(piece)
            at = stop
        else:
            assert piece.first == at // BLOCK_BYTES
            assert not present & set(range(piece.first, piece.last + 1))
            assert piece.last <= last // BLOCK_BYTES
            assert piece.first // BLOCKS == piece.last // BLOCKS, "a run lies in one extent"
            at = (piece.last + 1) * BLOCK_BYTES
    assert store.descriptors.held == 0
    assert holdings.holds(wanted(size), first, last) == (
        set(range(first // BLOCK_BYTES, last // BLOCK_BYTES + 1)) <= present
    )
    assert store.descriptors.held == 0


def test_another_version_is_as_good_as_absent() -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    store.put(0, 15, EXTENT, version=b"w" * 32)
    assert holdings.piece(wanted(EXTENT), 0, EXTENT - 1) == Missing(0, 3)
    holdings.announcements.add("k", ready(0, 3, EXTENT, version=b"w" * 32))
    assert holdings.piece(wanted(EXTENT), 0, EXTENT - 1) == Missing(0, 3)


def test_an_extent_that_is_gone_is_asked_for_whole_and_its_announcement_forgotten() -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    holdings.announcements.add("k", ready(0, 3, EXTENT, extent_id=9))
    store.descriptors.gone.add(9)
    assert holdings.piece(wanted(EXTENT), 0, EXTENT - 1) == Missing(0, 0)
    assert len(holdings.announcements) == 0


def test_what_was_announced_before_a_purge_is_missing_and_asked_for_in_one_run() -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    holdings.announcements.add("k", ready(0, 2, EXTENT))
    assert holdings.holds(wanted(EXTENT), 0, BLOCK_BYTES)
    store.epoch = 4
    assert holdings.piece(wanted(EXTENT), 0, EXTENT - 1) == Missing(0, 3)
    assert len(holdings.announcements) == 0
    holdings.announcements.add("k", msgspec.structs.replace(ready(0, 0, EXTENT), stored_epoch=4))
    held = holdings.piece(wanted(EXTENT), 0, EXTENT - 1)
    assert isinstance(held, Held)
    assert held.length == BLOCK_BYTES, "blocks of before the purge are not remembered beside it"
    holdings.release(held)


def test_what_is_purged_is_missing_and_not_planned_from() -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    store.put(0, 15, EXTENT)
    store.purged = True
    assert isinstance(holdings.piece(wanted(EXTENT), 0, 9), Missing)
    assert store.descriptors.held == 0
    assert holdings.find("k", b"h" * 20, 0) is None


def test_announcements_are_bounded_and_a_new_extent_replaces_the_old() -> None:
    holdings = Holdings(Store(), EXTENT)
    size = 10_000 * EXTENT
    for number in range(5000):
        holdings.announcements.add("k", ready(number * BLOCKS, number * BLOCKS, size))
    assert len(holdings.announcements) == 4096
    holdings.announcements.add("k", ready(4999 * BLOCKS + 1, 4999 * BLOCKS + 1, size, extent_id=8))
    found = holdings.announcements.get("k", 4999, b"v" * 32)
    assert found is not None
    assert (found.extent_id, found.bits) == (8, 0b10)


def test_the_ledger_gives_everything_once_and_in_frames() -> None:
    ledger = Accounting()
    for number in range(KEYS_PER_FRAME + 1):
        assert ledger.add(f"k{number}", peer=False, sent=10, missed=4, missed_request=True)
    ledger.add("k0", peer=False, sent=5, missed=0, missed_request=False)
    ledger.add("p", peer=True, sent=7, missed=0, missed_request=False)
    first, second = ledger.take(3)
    assert first.clients[0] == ("k0", 2, 15)
    assert first.peers == (("p", 1, 7),)
    assert (len(first.clients), len(second.clients)) == (KEYS_PER_FRAME, 1)
    assert (first.hit_requests, first.miss_requests) == (2, KEYS_PER_FRAME + 1)
    assert first.hit_bytes + first.miss_bytes == 10 * (KEYS_PER_FRAME + 1) + 12
    assert (second.hit_bytes, second.miss_bytes) == (0, 0)
    (empty,) = ledger.take(3)
    assert (empty.clients, empty.hit_bytes, empty.connections) == ((), 0, 3)


def test_a_full_ledger_says_so() -> None:
    ledger = Accounting(max_keys=1)
    assert ledger.add("a", peer=False, sent=1, missed=0, missed_request=False)
    assert not ledger.add("b", peer=False, sent=1, missed=0, missed_request=False)
    assert ledger.add("a", peer=False, sent=1, missed=0, missed_request=False)


def test_client_networks_are_summed_over_tls_and_plain_and_peers_are_none() -> None:
    ledger = Accounting()
    ledger.add("a", False, 10, 0, False, b"p192.0.2.0/24")
    ledger.add("b", False, 5, 0, False, b"t192.0.2.0/24")
    ledger.add("b", False, 1, 0, False, b"t2001:db8::/48")
    ledger.add("b", True, 100, 0, False, b"t192.0.2.0/24")
    ledger.add("b", False, 100, 0, False)
    (frame,) = ledger.take(1)
    assert frame.networks == (("192.0.2.0/24", 2, 15), ("2001:db8::/48", 1, 1))


def test_networks_beyond_the_bound_are_summed_up() -> None:
    ledger = Accounting(max_networks=2)
    for number in range(5):
        ledger.add("a", False, 10, 0, False, b"p10.0.%d.0/24" % number)
    (frame,) = ledger.take(1)
    assert frame.networks == (("10.0.0.0/24", 1, 10), ("10.0.1.0/24", 1, 10), ("other", 3, 30))


def test_what_never_arrived_is_taken_back_and_nothing_falls_below_nought() -> None:
    ledger = Accounting()
    client = b"p192.0.2.0/24"
    ledger.add("a", False, 100, 0, False, client)
    ledger.take_back("a", False, 30, client)
    (first,) = ledger.take(1)
    assert (first.clients, first.networks) == ((("a", 1, 70),), (("192.0.2.0/24", 1, 70),))
    ledger.take_back("a", False, 50, client)
    assert ledger.take(1)[0].clients == (), "reported already: the next bytes pay"
    ledger.add("a", False, 20, 0, False, client)
    ledger.add("a", True, 20, 0, False)
    (third,) = ledger.take(1)
    assert (third.clients, third.peers) == ((("a", 1, 0),), (("a", 1, 20),))
    ledger.add("a", False, 100, 0, False, client)
    assert ledger.take(1)[0].clients == (("a", 1, 70),)


class KeyFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.remembered: list[bool] = []
        self.tokens = Tokens(str(path), verify, self.remembered.append, limit=2)

    def write(self, number: int, *keys: PublicKey, revoked: tuple[str, ...] = ()) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(KeySet(number, keys, revoked)))
        temporary.replace(self.path)
        self.tokens.poll(1000.0)


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def claims(**changes: object) -> dict[str, object]:
    return {"expires_at": 2000.0, "issued_at": 900.0, **changes}


def why(
    tokens: Tokens, token: str | None, path: str = "/media/t1/hd/v.mp4", now: float = 1000.0
) -> TokenRefusal | None:
    try:
        tokens.check(token, path, now)
    except TokenRefused as refused:
        return refused.why
    return None


def test_a_remembered_token_is_still_judged_for_time_scope_and_revocation(key_file: KeyFile) -> None:
    keys = Keys()
    key_file.write(1, keys.public())
    token = keys.token(**claims())
    tokens = key_file.tokens
    assert why(tokens, token) is None
    assert why(tokens, token) is None
    assert key_file.remembered == [False, True]
    assert why(tokens, token, now=2031.0) is TokenRefusal.EXPIRED
    assert why(tokens, token, path="/media/t2/hd/v.mp4") is TokenRefusal.SCOPE
    assert why(tokens, token, path="/media/t1/uhd/v.mp4") is TokenRefusal.SCOPE
    key_file.write(2, keys.public(), revoked=("session-1",))
    assert why(tokens, token) is TokenRefusal.REVOKED
    assert why(tokens, None) is TokenRefusal.MISSING


def test_a_key_that_is_withdrawn_or_ended_opens_nothing_any_more(key_file: KeyFile) -> None:
    keys, other = Keys("a"), Keys("b")
    ending = msgspec.structs.replace(keys.public(), not_after=1500.0)
    key_file.write(1, ending, other.public())
    token = keys.token(**claims())
    assert why(key_file.tokens, token) is None
    key_file.tokens.poll(1501.0)
    assert why(key_file.tokens, token) is TokenRefusal.KEY_UNKNOWN
    assert why(key_file.tokens, other.token(**claims())) is None
    key_file.write(2)
    assert why(key_file.tokens, other.token(**claims())) is TokenRefusal.KEY_UNKNOWN


def test_a_broken_key_file_leaves_the_keys_at_hand(key_file: KeyFile) -> None:
    keys = Keys()
    key_file.write(1, keys.public())
    key_file.path.write_bytes(b"{")
    assert "cannot be read" in key_file.tokens.poll(1000.0)
    assert key_file.tokens.poll(1000.0) == "", "it is said once"
    assert why(key_file.tokens, keys.token(**claims())) is None


def test_the_table_of_tokens_is_bounded(key_file: KeyFile) -> None:
    keys = Keys()
    key_file.write(1, keys.public())
    tokens = [keys.token(**claims(session=f"s{number}")) for number in range(3)]
    for token in (*tokens, tokens[2], tokens[0]):
        assert why(key_file.tokens, token) is None
    assert key_file.remembered == [False, False, False, True, False]


def test_a_foreign_key_and_no_algorithm_open_nothing(key_file: KeyFile) -> None:
    keys, foreign = Keys(), Keys()
    key_file.write(1, keys.public())
    assert why(key_file.tokens, foreign.token(**claims())) is TokenRefusal.SIGNATURE
    header, _, rest = keys.token(**claims()).partition(".")
    none = "eyJhbGciOiJub25lIiwia2lkIjoidGVzdC0xIn0." + rest.partition(".")[0] + "."
    assert header
    assert why(key_file.tokens, none) is TokenRefusal.ALGORITHM
    assert isinstance(key_file.tokens.check(keys.token(**claims()), "/media/t1/hd/v.mp4", 1000.0), MediaClaims)


def test_what_is_remembered_is_judged_anew_when_the_control_plane_stays_away_and_when_it_is_back(
    key_file: KeyFile,
) -> None:
    keys = Keys()
    key_file.write(1, keys.public())
    os.utime(key_file.path, (500.0, 500.0))
    key_file.tokens.poll(1000.0)
    contact = key_file.path.with_name("contact.json")
    contact.write_bytes(msgspec.json.encode(Contact(800.0)))
    early, late = keys.token(**claims(issued_at=700.0)), keys.token(**claims())
    tokens = Tokens(str(key_file.path), verify, lambda _: None, offline=OfflineRule(600.0))
    tokens.poll(1400.0)
    assert (why(tokens, early), why(tokens, late)) == (None, None)
    assert "only tokens issued before that" in tokens.poll(1401.0)
    assert tokens.poll(1402.0) == "", "it is said once"
    assert (why(tokens, early), why(tokens, late)) == (None, TokenRefusal.OFFLINE)
    assert why(tokens, early) is None
    assert why(tokens, late, path="/media/t2/hd/v.mp4") is TokenRefusal.SCOPE
    contact.write_bytes(msgspec.json.encode(Contact(1403.0)))
    assert "is back" in tokens.poll(1404.0)
    assert why(tokens, late) is None
    strict = Tokens(str(key_file.path), verify, lambda _: None, offline=OfflineRule(600.0, strict=True))
    assert "no token is taken" in strict.poll(3000.0)
    assert why(strict, early) is TokenRefusal.OFFLINE


def test_without_keys_there_is_no_contact_to_lose(tmp_path: Path) -> None:
    tokens = Tokens(str(tmp_path / "keys.json"), verify, lambda _: None)
    assert tokens.poll(1e9) == ""


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (None, False),
        (b"", False),
        (b"lowtide;appliance=a-1", True),
        (b'other.example, LOWTIDE ; x=1; Appliance="a-1"', True),
        (b"lowtide;appliance=a-12", False),
        (b"other;appliance=a-1", False),
        (b"lowtide", False),
    ],
)
def test_a_loop_is_seen_by_the_own_name(value: bytes | None, passed: bool) -> None:
    assert has_passed(value, "a-1") is passed
    assert not has_passed(value, "")


def test_only_an_appliance_is_a_peer() -> None:
    assert appliance_of({"subjectAltName": (("DNS", "x"), ("URI", "lowtide://appliance/a-1"))}) == "a-1"
    assert appliance_of({"subjectAltName": (("URI", "lowtide://service/origin"),)}) is None
    assert appliance_of({"subjectAltName": (("URI", "lowtide://appliance/"),)}) is None
    assert appliance_of({}) is None
    assert appliance_of(None) is None


class Silent:
    def head(self, head: object) -> None: ...

    def ready(self, ready: object) -> None: ...

    def done(self) -> None: ...

    def failed(self, why: object) -> None: ...


@given(st.integers(0, 5), st.integers(0, 8), st.lists(st.tuples(st.integers(0, 14), st.integers(0, 5)), max_size=6))
def test_the_remainder_of_an_ask_begins_at_the_first_block_that_was_not_announced(
    first: int, more: int, runs: list[tuple[int, int]]
) -> None:
    last = first + more
    ask = Ask(Want(1, "k", first, last, b"v" * 32), Silent())
    seen: set[int] = set()
    for start, length in runs:
        ask.deliver(start, start + length)
        seen |= set(range(start, start + length + 1))
    again = ask.remainder(2)
    absent = [block for block in range(first, last + 1) if block not in seen]
    if not absent:
        assert again is None
    else:
        assert again == Want(2, "k", absent[0], last, b"v" * 32)


def test_a_certificate_that_cannot_be_loaded_is_told_once_and_the_next_one_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    peers = PeerTls(str(tmp_path))
    assert peers.poll() == ""
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (folder / name).write_text("nothing")
    assert "cannot be loaded" in peers.poll()
    assert peers.poll() == ""
    assert peers.context is None
    key, uri = certificates.make_key(), san_uri(PeerKind.APPLIANCE, "a1")
    ca_pem = certificates.make_ca(key, "CA", 1_700_000_000.0)
    csr = certificates.make_csr(key, uri)
    pem = certificates.sign_csr(csr, ca_pem=ca_pem, ca_key=key, uri=uri, now=1_700_000_000.0)
    (folder / "key.pem").write_bytes(certificates.key_to_pem(key))
    (folder / "ca.pem").write_text(ca_pem)
    (folder / "cert.pem").write_text(pem)
    assert peers.poll() == "peers are let in as appliance a1"
    assert peers.own_id == "a1"


def test_what_was_waited_for_is_no_use_of_it() -> None:
    store = Store()
    holdings = Holdings(store, EXTENT)
    holdings.announcements.add("k", ready(0, 3, EXTENT, extent_id=9))
    for waited, touched in ((True, 0), (False, 1)):
        piece = holdings.piece(wanted(EXTENT), 0, EXTENT - 1, waited=waited)
        assert isinstance(piece, Held)
        holdings.release(piece)
        assert len(store.touched) == touched
    store.put(0, 15, EXTENT)
    piece = holdings.piece(wanted(EXTENT), 0, EXTENT - 1, waited=True)
    assert isinstance(piece, Held)
    holdings.release(piece)
    assert len(store.touched) == 1
