"""Composition of the auth service."""

from __future__ import annotations

import ipaddress

from chassis.auth import Jwks, JwksSource, MemberGuard, TokenVerifier
from chassis.database import Database
from chassis.https import door_of
from chassis.service import Listener, Service, Tcp
from chassis.web import Cors, build_app
from companions.auth.access import AUDIENCE, ISSUER, jwks_of
from companions.auth.api import AuthApi
from companions.auth.attempts import Attempts
from companions.auth.config import Auth
from companions.auth.metrics import AuthMetrics
from companions.auth.passwords import Passwords, Strength
from companions.auth.records import METADATA, SCHEMA_VERSION, Records
from companions.signing import load_or_make
from contracts.keys import KeyUse
from contracts.members import AccessClaims


async def compose(service: Service, settings: Auth, listener: str = "http") -> None:
    """Adds auth to a service process under a listener's name."""
    key = load_or_make(settings.key_file, KeyUse.MEMBER)
    database = await service.enter(Database.open(settings.database, METADATA, schema_version=SCHEMA_VERSION))
    service.health.add_check("auth-database", database.check)
    costs = settings.argon2
    passwords = Passwords(Strength(costs.passes, costs.memory_kib, costs.lanes), costs.threads)

    async def close() -> None:
        passwords.close()

    service.on_close(close)
    api = AuthApi(
        Records(database, refresh_ttl_s=settings.refresh_ttl_s, max_profiles=settings.max_profiles),
        passwords,
        Attempts(settings.guessing.window_s),
        key,
        AuthMetrics(service.metrics),
        service.clock,
        guessing=settings.guessing,
        access_ttl_s=settings.access_ttl_s,
        trusted=tuple(ipaddress.ip_network(network) for network in settings.http.trusted_proxies),
    )

    async def own_keys() -> Jwks:
        return jwks_of(key)

    verifier = TokenVerifier(
        JwksSource(own_keys, clock=service.clock), AccessClaims, issuer=ISSUER, audience=AUDIENCE, clock=service.clock
    )
    app = build_app(
        api.routes(MemberGuard(verifier)),
        metrics=service.metrics,
        health=service.health,
        cors=Cors(settings.http.cors_origins),
        listener=listener,
    )
    https = door_of(settings.http.https)
    service.listen(Listener(listener, app, Tcp(settings.http.host, settings.http.port), https=https))
