"""The origin's tables. Values cross as msgspec Structs in JSON text; instants are seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1
metadata = MetaData()

titles = Table(
    "titles",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("facts", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("source_bytes", BigInteger, nullable=False, default=0),
    Column("reason", Text, nullable=False, default=""),
    Column("reason_code", String(64), nullable=False, default=""),
    Column("stage_seconds", Text, nullable=False, default="{}"),
    Column("record", Text, nullable=False, default=""),
    Column("announced", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)
"""`record` is the published Title; `announced` says that somebody may have been told of it."""

jobs = Table(
    "jobs",
    metadata,
    Column("title_id", String(128), primary_key=True),
    Column("queued_at", Float, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("epoch", BigInteger, nullable=False, default=0),
    Column("worker", String(128), nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("progress", Float, nullable=False, default=0.0),
    Column("reason", Text, nullable=False, default=""),
)
"""One row per title with work to do. `epoch` grows with every lease: a write under an older one changes nothing."""
Index("jobs_by_turn", jobs.c.run_after, jobs.c.queued_at)

files = Table(
    "files",
    metadata,
    Column("path", String(512), primary_key=True),
    Column("title_id", String(128), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("version", String(64), nullable=False),
    Column("content_type", String(128), nullable=False),
)
"""What the media listeners serve. All rows of a title appear in one transaction, after all its objects are stored."""
