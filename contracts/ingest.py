"""Ingest at the origin: what an operator sends and sees on a title's way from upload to publication (DESIGN §7)."""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.catalogue import TitleFacts


class TitleState(Enum):
    """How far a title has come. Each state is a stage's finished result; `rejected` carries the reason in words."""

    CREATED = "created"
    UPLOADED = "uploaded"
    PROBED = "probed"
    CHUNKED = "chunked"
    ENCODED = "encoded"
    PACKAGED = "packaged"
    CHECKED = "checked"
    PUBLISHED = "published"
    REJECTED = "rejected"
    WITHDRAWING = "withdrawing"


class TitleStatus(msgspec.Struct, frozen=True):
    """`GET /v1/titles/ID`. `progress` is the share of the whole way, `stage_progress` that of the running stage (0..1).

    `stage` is what runs or waits to run next, empty when nothing does. `reason` is a sentence, `reason_code` its word;
    both are also set while a failed stage waits for its next attempt. `stage_seconds` says how long each stage took.
    """

    facts: TitleFacts
    state: TitleState
    stage: str
    progress: float
    stage_progress: float
    attempts: int
    created_at: float
    updated_at: float
    source_bytes: int = 0
    reason: str = ""
    reason_code: str = ""
    stage_seconds: dict[str, float] = {}


class TitleStatusList(msgspec.Struct, frozen=True):
    titles: tuple[TitleStatus, ...]


class JobStatus(msgspec.Struct, frozen=True):
    """One unfinished job. `worker` is empty when nobody has it; a lease not renewed until `lease_until` is free again."""

    title_id: str
    stage: str
    progress: float
    attempts: int
    worker: str
    lease_until: float
    run_after: float
    reason: str = ""


class JobList(msgspec.Struct, frozen=True):
    jobs: tuple[JobStatus, ...]
