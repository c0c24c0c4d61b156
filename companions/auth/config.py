"""Settings of the auth service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from companions.auth.accounts import MAX_PROFILES
from companions.settings import Http


@dataclass(frozen=True, slots=True)
class Argon2:
    """The price of one password check (argon2id, RFC 9106); the defaults are OWASP's second choice."""

    passes: Annotated[int, Ge(1), Le(100), Doc("Passes over the memory")] = 2
    memory_kib: Annotated[int, Ge(8), Le(4 * 1024 * 1024), Doc("Memory per check in KiB; at least 8 per lane")] = 19456
    lanes: Annotated[int, Ge(1), Le(16), Doc("Lanes computed side by side")] = 1
    threads: Annotated[int, Ge(1), Le(64), Doc("Checks at the same time; bounds the memory of a wave of log-ins")] = 2

    def __post_init__(self) -> None:
        if self.memory_kib < 8 * self.lanes:
            raise ValueError("argon2.memory_kib: must be at least 8 per lane")


@dataclass(frozen=True, slots=True)
class Guessing:
    """How many wrong log-ins are taken before further ones have to wait."""

    window_s: Annotated[float, Gt(0), Doc("How long a failure counts")] = 300.0
    per_account: Annotated[int, Ge(1), Doc("Failures per e-mail address within the window")] = 10
    per_address: Annotated[int, Ge(1), Doc("Failures per client address within the window")] = 50


@dataclass(frozen=True, slots=True)
class Auth:
    """Configuration of `lowtide companions run auth`."""

    database: Annotated[Path, Doc("SQLite file of accounts, profiles and log-ins")]
    key_file: Annotated[Path, Doc("Private key that signs access tokens; made there with mode 0600 when missing")]
    http: Annotated[Http, Doc("Where it listens")] = field(default_factory=Http)
    access_ttl_s: Annotated[float, Gt(0), Le(3600), Doc("How long an access token is good")] = 300.0
    refresh_ttl_s: Annotated[float, Gt(0), Doc("How long an unused log-in lasts")] = 30 * 86400.0
    max_profiles: Annotated[int, Ge(1), Le(50), Doc("Profiles of one account")] = MAX_PROFILES
    argon2: Annotated[Argon2, Doc("The price of a password check")] = field(default_factory=Argon2)
    guessing: Annotated[Guessing, Doc("Limits on wrong log-ins")] = field(default_factory=Guessing)
