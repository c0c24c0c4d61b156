"""The block store of an appliance (DESIGN §3.2): extents on disks, an LMDB index each, one writer, many readers.

Words. A *key* is the cache key text; `key_hash(key)` its 20 bytes in the index. A file is cut into *extents* of
`extent_bytes` (a setting, equal on all disks), an extent into *blocks* of 256 KiB. Block numbers in this package count
**inside their extent** unless the name says `file_block`; `blocks.locate(file_block, blocks_per_extent)` converts.
A *version* is 32 bytes: the file's BLAKE3 for media.

**Workers** (read only)::

    from oca.store.board import Board
    from oca.store.reader import StoreReader           # one per process, opened after exec, never across a fork
    from oca.store.extents import ExtentRecord, key_hash

    board = Board.attach(fd)                           # the memfd that the supervisor made
    reader = StoreReader.open(settings, board, worker_slot)
    record = reader.lookup(key_hash(key), extent_number)      # ExtentRecord | None, about 3 µs, never raises
    record.has_blocks(first, last)                     # both inclusive, inside the extent
    record.missing(first, last)                        # [(first, last), …] runs that are absent
    record.disk, record.extent_id, record.version, record.file_size, record.extent_number, record.length,
    record.header (b"Content-Type: …\r\nETag: …\r\n"), record.slot, record.stored_epoch, record.stored_at, record.pinned
    reader.touch(record, epoch)                        # access mark: a load and a store in shared memory
    held = reader.descriptors.acquire(record.disk, record.extent_id, record.length)   # Descriptor | None (gone: a miss)
    held.fd; held.clean_epoch                          # valid until reader.descriptors.release(held)
    reader.poll()                                      # every 250 ms: closes what died, publishes epoch and what is still held
    reader.judge(key, record, held) -> PurgeMode | None   # two integer compares when no purge is pending
    reader.statistics(); reader.close()

A block that the keeper announced but the index does not show yet is served with the announcement's
(disk, extent_id, length) through the same `descriptors`.

**Keeper** (the only writer; calls are synchronous and thread-safe, run those of a disk in that disk's thread)::

    from oca.store.writer import StoreWriter
    from oca.store.extents import ExtentSpec

    store = StoreWriter.open(settings, board, now=time.time)  # flock, recovery, orphans; DiskBusy, FormatTooNew, …
    disk = store.place(key_hash, extent_number)        # the DiskWriter where this extent lives or would go; None: no disk
    extent = disk.open_extent(ExtentSpec(key=…, version=…, file_size=…, extent_number=…, header=…, plan=None|"plan-id"))
                                                       # creates (fallocate) or continues; raises NoSpace, DiskFailed
    announcement = disk.write_block(extent, block, data, digest)   # verified, written once; durable later
    if disk.batch_due(now): disk.commit_batch()        # fdatasync + index commit: ≤ 64 blocks or 1 s
    disk.make_room(bytes, pinned=False) -> Room        # evicts by policy; room.ready or wait and call disk.reap()
    disk.close_extent(extent)                          # always: an open extent is never evicted
    store.reap()                                       # every 250 ms: unlinked space that no worker holds becomes free
    store.collect_marks(epoch)                         # every few seconds: marks → policy
    store.pin(key, plan); store.unpin(key); store.drop(key, reason)
    store.holdings() -> Iterator[HeldFile]; store.find(key_hash, extent_number)      # committed and announced merged
    store.order(orders) -> rules; store.purge_acknowledged(rule); store.sweep(rule); store.renew(key, version, epoch)
    store.migrate_some(max_rows)                       # rows of an older format, a bounded step; True while there are more
    store.scrub_some(max_blocks); store.reader_check(); store.statistics(); store.close()   # close() leaves the clean mark

**Supervisor**::

    from oca.store.disks import prepare_disk           # creates or checks a disk's folder; needs no reader
    from oca.store.board import Board, BoardShape
    from oca.store.pinning import pin_index            # mmap + mlock of data.mdb: locked, or the reason why not
    board = Board.create(BoardShape(workers=2, disks=1, marks_per_disk=65536)); board.fd
    board.clear_worker(slot)                           # after a worker's death, before its replacement starts

Laws, each with a test in `tests/oca/store/`: the order of a write is blocks → fdatasync → index commit; of an eviction index
delete → commit → unlink → publish the dead id. An extent is created at its final length, gets missing blocks written once
and is unlinked; nothing is truncated, punched or repaired in place. Ids are never reused. A disk that errs is taken out
alone. Readers open with locks, copy values out, and keep a read transaction for one look-up.

Layers, each using only what stands above it: `errors`, `blocks`, `trailer`, `extents`, `placement`, `purge`, `recent`, `batching`, `space`,
`slots`, `syscalls` (pure but the last) → `board`, `marks`, `pinning`, `index`, `migration`, `disks`, `holdings`, `dead` → `descriptors`, `reader` (workers) |
`ledger`, `disk_writer`, `recovery`, `scrub`, `strays`, `purging`, `arranging`, `moving`, `promotion`, `probing`, `lineup`, `writer` (keeper).

Money and memory, measured on two shared cores: a look-up 3.3 µs at 100,000 extents and 3.8 µs at a million, record built; `has_blocks` and
`touch` 0.2 µs each. The index takes about 550 bytes per full extent of 32 MiB with a header block of 170 bytes, the board 8 bytes
per mark, an extent file one page beyond its data (its trailer), the keeper about 760 bytes of memory per extent.
"""
