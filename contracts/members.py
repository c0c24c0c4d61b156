"""Members, profiles and access (companions/auth)."""

from __future__ import annotations

from enum import Enum

import msgspec


class MemberPlan(Enum):
    """What a member pays for: (word, simultaneous streams, tiers)."""

    BASIC = ("basic", 1, ("base", "sd"))
    STANDARD = ("standard", 2, ("base", "sd", "hd"))
    PREMIUM = ("premium", 4, ("base", "sd", "hd", "uhd"))

    def __init__(self, word: str, streams: int, tiers: tuple[str, ...]) -> None:
        self.word = word
        self.streams = streams
        self.tiers = tiers

    @classmethod
    def named(cls, word: str) -> MemberPlan | None:
        return next((plan for plan in cls if plan.word == word), None)


class SignUp(msgspec.Struct, frozen=True):
    """`POST /v1/accounts`. `region` is an ISO 3166 code; `plan` a MemberPlan word. Password: 10 to 256 characters."""

    email: str
    password: str
    region: str
    plan: str = "standard"
    profile_name: str = "Me"


class LogIn(msgspec.Struct, frozen=True):
    """`POST /v1/sessions`."""

    email: str
    password: str
    device_name: str = ""


class Refresh(msgspec.Struct, frozen=True):
    """`POST /v1/sessions/refresh`. A refresh token works once; using it twice revokes its whole family."""

    refresh_token: str


class Tokens(msgspec.Struct, frozen=True):
    """`access_token` is an ES256 JWT of a few minutes; its claims are `AccessClaims`."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    account_id: str


class AccessClaims(msgspec.Struct, frozen=True):
    """`iss` = "lowtide-auth", `sub` = account id, `aud` = "lowtide"."""

    iss: str
    sub: str
    aud: str
    exp: float
    iat: float
    plan: str
    region: str
    profiles: tuple[str, ...]
    """Profile ids of the account: a service checks that a profile id belongs to the caller."""
    session: str = ""
    """The log-in that the token comes from: what `DELETE /v1/sessions` ends."""


class ProfileSettings(msgspec.Struct, frozen=True):
    """`demo_network`: only where a service allows it (`allow_demo_network`): an IP address that stands for the browser's
    network, so that a browser on one machine can be shown as a member of any of the demo's networks."""

    language: str = "en"
    maturity: str = "all"
    demo_network: str = ""


class Profile(msgspec.Struct, frozen=True):
    id: str
    name: str
    settings: ProfileSettings = ProfileSettings()


class ProfileChange(msgspec.Struct, frozen=True):
    """`POST /v1/profiles`, `PUT /v1/profiles/ID`."""

    name: str
    settings: ProfileSettings = ProfileSettings()


class Account(msgspec.Struct, frozen=True):
    """`GET /v1/account`."""

    id: str
    email: str
    plan: str
    region: str
    profiles: tuple[Profile, ...]
