"""The tables. What is asked for by its parts has columns; what is only handed on is one JSON document of its contract type."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 1
IMPORTED = ""
"""Stands for the appliance in `traffic` rows that came from another system."""

metadata = MetaData()

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Integer, nullable=False),
)
sites = Table(
    "sites",
    metadata,
    Column("id", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
appliances = Table(
    "appliances",
    metadata,
    Column("id", String, primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("registration", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("serial", String, nullable=False, default=""),
    Column("report", LargeBinary),
    Column("reported_at", Float, nullable=False, default=0.0),
    Column("newest_boot", String, nullable=False, default=""),
    Column("holdings_known", Boolean, nullable=False, default=False),
)
boots = Table(
    "boots",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("boot_id", String, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("client_requests", Integer, nullable=False, default=0),
    Column("client_bytes", Integer, nullable=False, default=0),
    Column("content_misses", Integer, nullable=False, default=0),
    Column("evictions", Integer, nullable=False, default=0),
)
source_counters = Table(
    "source_counters",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("boot_id", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("purpose", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
)
traffic = Table(
    "traffic",
    metadata,
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("appliance_id", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("served_bytes", Integer, nullable=False),
    Index("traffic_by_hour", "hour"),
    sqlite_with_rowid=False,
)
network_traffic = Table(
    "network_traffic",
    metadata,
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("network", String, primary_key=True),
    Column("appliance_id", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("served_bytes", Integer, nullable=False),
    sqlite_with_rowid=False,
)
holdings = Table(
    "holdings",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("present_bytes", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
order_progress = Table(
    "order_progress",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("order_id", String, primary_key=True),
    Column("key", String, nullable=False, index=True),
    Column("bytes_done", Integer, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
codes = Table(
    "codes",
    metadata,
    Column("hash", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)
certificates = Table(
    "certificates",
    metadata,
    Column("serial", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)
keys = Table(
    "keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("publisher", String, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
revocations = Table(
    "revocations",
    metadata,
    Column("session", String, primary_key=True),
    Column("expires_at", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
origins = Table(
    "origins",
    metadata,
    Column("name", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
titles = Table(
    "titles",
    metadata,
    Column("id", String, primary_key=True),
    Column("facts", LargeBinary, nullable=False),
    Column("published_at", Float, nullable=False),
)
files = Table(
    "files",
    metadata,
    Column("key", String, primary_key=True),
    Column("title_id", ForeignKey("titles.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("group", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("blake3", String, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Column("signed", Text),
    Column("signed_by", String),
)
plans = Table(
    "plans",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("summary", LargeBinary, nullable=False),
)
appliance_plans = Table(
    "appliance_plans",
    metadata,
    Column("number", ForeignKey("plans.number", ondelete="CASCADE"), primary_key=True),
    Column("appliance_id", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
explanations = Table(
    "explanations",
    metadata,
    Column("number", ForeignKey("plans.number", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("site_id", String, primary_key=True),
    Column("manifest_cluster", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
triggers = Table(
    "triggers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("operator", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
trigger_acknowledgements = Table(
    "trigger_acknowledgements",
    metadata,
    Column("number", ForeignKey("triggers.number", ondelete="CASCADE"), primary_key=True),
    Column("appliance_id", String, primary_key=True),
    Column("at", Float),
    sqlite_with_rowid=False,
)
trigger_positions = Table(
    "trigger_positions",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, nullable=False),
    sqlite_with_rowid=False,
)
pins = Table(
    "pins",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
prepositions = Table(
    "prepositions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("until", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
licence_ends = Table(
    "licence_ends",
    metadata,
    Column("title_id", String, primary_key=True),
    Column("ends_at", Float, nullable=False),
)
feeds = Table(
    "feeds",
    metadata,
    Column("name", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
feed_rows = Table(
    "feed_rows",
    metadata,
    Column("feed", ForeignKey("feeds.name", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("views", Float, nullable=False),
    sqlite_with_rowid=False,
)
source_hours = Table(
    "source_hours",
    metadata,
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("appliance_id", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("purpose", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    sqlite_with_rowid=False,
)
accounts = Table(
    "miss_accounts",
    metadata,
    Column("site", String, primary_key=True),
    Column("hour", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    Index("miss_accounts_by_hour", "hour"),
    sqlite_with_rowid=False,
)
nightly_reports = Table(
    "nightly_reports",
    metadata,
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True),
    Column("day", String, primary_key=True),
    Column("closes_at", Float, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
route_sources = Table(
    "route_sources",
    metadata,
    Column("id", String, primary_key=True),
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), index=True),
    Column("document", LargeBinary, nullable=False),
)
heard_routes = Table(
    "heard_routes",
    metadata,
    Column("source_id", ForeignKey("route_sources.id", ondelete="CASCADE"), primary_key=True),
    Column("cidr", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
route_policies = Table(
    "route_policies",
    metadata,
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True),
    Column("source", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
names = Table(
    "names",
    metadata,
    Column("appliance_id", ForeignKey("appliances.id", ondelete="CASCADE"), primary_key=True),
    Column("document", LargeBinary, nullable=False),
)
zone_records = Table(
    "zone_records",
    metadata,
    Column("owner", String, primary_key=True),
    Column("type", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("operator", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text, nullable=False, default=""),
)
