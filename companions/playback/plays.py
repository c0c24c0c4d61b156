"""A play from the question to the manifest: entitlement → title → ranking → session → signed manifest.

Laws: without auth's keys, the catalog's word on the title, or a free stream nothing is played; without steering, the
appliances of the last ranking or the origin. A session's secret is stored as a digest only, and starts with `~` so that
logs hide it like a media token.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec

from chassis.clock import Clock
from chassis.errors import ProblemError
from companions.playback.devices import showable
from companions.playback.entitlement import (
    Refusal,
    plan_of,
    playable,
    profile_refusal,
    renewal_plan_refusal,
    title_refusal,
)
from companions.playback.manifests import Manifests
from companions.playback.metrics import PlaybackMetrics
from companions.playback.pathways import Route, first_site, pathway_names, routes
from companions.playback.playlog import PlaybackEvents
from companions.playback.rankings import Rankings
from companions.playback.records import Opened, Records
from companions.playback.sessions import Session
from companions.playback.sheets import OWN_ORDER, Sheet, packaged_file
from companions.playback.titlebook import TitleBook
from companions.signing import OwnKey
from contracts.content_steering import LONGEST_TTL_S, VERSION, SteeringManifest
from contracts.events import PlaybackEvent, PlaybackEventKind
from contracts.manifests.elements import Element
from contracts.manifests.playlists import Playlist
from contracts.members import AccessClaims
from contracts.problems import ProblemCode
from contracts.tokens.claims import MediaClaims
from contracts.tokens.media import TokenFormat, codec_of
from contracts.viewing import BeatAnswer, PlayAnswer, PlayBeat, PlayRequest, Renewal

ISSUER = "lowtide-playback"
STARTED = "started"
GO_ON = "go-on"
RENEWED = "renewed"


@dataclass(frozen=True, slots=True)
class PlayRules:
    """What a play is bound by."""

    origin_url: str
    steering_url: str
    """Base URL of steering as players reach it; empty when they are not steered."""
    heartbeat_s: float
    token_extra_s: float
    token_s: float
    token_format: TokenFormat


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom a play asks."""

    records: Records
    titles: TitleBook
    rankings: Rankings
    dash: Manifests[Element]
    hls: Manifests[Playlist]
    events: PlaybackEvents
    key: OwnKey
    clock: Clock
    metrics: PlaybackMetrics


class Plays:
    def __init__(self, desk: Desk, rules: PlayRules) -> None:
        self._desk = desk
        self._rules = rules

    async def play(self, claims: AccessClaims, request: PlayRequest, client: str, base_url: str) -> PlayAnswer:
        """Opens a session for a client's network. Raises ProblemError with the reason."""
        try:
            answer = await self._play(claims, request, client, base_url)
        except ProblemError as error:
            self._desk.metrics.plays.labels(error.code.code).inc()
            self._say_refused(claims, request, error.code.code)
            raise
        self._desk.metrics.plays.labels(STARTED).inc()
        return answer

    async def dash(self, secret: str) -> str:
        """The session's MPD. Raises ProblemError NOT_FOUND for a session that is over or never was."""
        session = await self._open_session(secret)
        return await self._desk.dash.text(self._sheet(session), session.dash)

    async def hls(self, secret: str) -> str:
        """The session's multivariant playlist. Raises as `dash` does."""
        session = await self._open_session(secret)
        return await self._desk.hls.text(self._sheet(session), session.hls)

    async def order(self, secret: str) -> SteeringManifest:
        """The manifests' own order of pathways, for players that have no steering to ask (RFC 8216bis §7.1). Raises as `dash` does."""
        session = await self._open_session(secret)
        return SteeringManifest(LONGEST_TTL_S, OWN_ORDER, pathway_names(session.routes), VERSION)

    async def renew(self, claims: AccessClaims, secret: str) -> Renewal:
        """A fresh media token for a session of the member, which lives on. Raises ProblemError with the reason."""
        try:
            renewal = await self._renew(claims, secret)
        except ProblemError as error:
            self._desk.metrics.renewals.labels(error.code.code).inc()
            raise
        self._desk.metrics.renewals.labels(RENEWED).inc()
        return renewal

    async def beat(self, secret: str, beat: PlayBeat) -> BeatAnswer:
        """Raises ProblemError NOT_FOUND for a session that never was."""
        beaten = await self._desk.records.beat(secret, beat, self._desk.clock.wall_s())
        if beaten is None:
            raise _no_session()
        self._desk.metrics.beats.labels(beaten.stop or GO_ON).inc()
        kind = PlaybackEventKind.ENDED if beaten.stop else PlaybackEventKind.BEAT
        self._say(kind, beaten.session, beaten.stop, beat)
        return BeatAnswer(go_on=not beaten.stop, reason=beaten.stop)

    async def end(self, secret: str) -> None:
        """Ends a session; ending it again, or one that never was, changes nothing."""
        ended = await self._desk.records.end(secret, self._desk.clock.wall_s())
        if ended is not None:
            self._say(PlaybackEventKind.ENDED, ended, "stopped")

    async def _play(self, claims: AccessClaims, request: PlayRequest, client: str, base_url: str) -> PlayAnswer:
        _refuse(profile_refusal(claims, request.profile_id))
        details = await self._desk.titles.details(request.title_id, claims.region)
        _refuse(title_refusal(details, claims.region, self._desk.clock.wall_s()))
        plan = plan_of(claims)
        allowed = playable(details, plan)
        if isinstance(allowed, Refusal):
            raise _problem(allowed)
        kept = showable(details.facts.name, allowed, request.device)
        if isinstance(kept, Refusal):
            raise _problem(kept)
        session_id = f"s-{secrets.token_hex(8)}"
        now = self._desk.clock.wall_s()
        until = now + details.duration_s + self._rules.token_extra_s
        ranked = await self._desk.rankings.rank(client, request.title_id, kept, session_id, until)
        made = routes(request.title_id, kept, ranked.ranking, self._rules.origin_url)
        session = Session(
            id=session_id,
            account_id=claims.sub,
            profile_id=request.profile_id,
            title_id=request.title_id,
            device_id=request.device_id,
            region=claims.region,
            plan=plan.word,
            tiers=plan.tiers,
            routes=tuple(_without_segments(route) for route in made),
            duration_s=details.duration_s,
            site_id=first_site(ranked.ranking),
            started_at=now,
            seen_at=now,
            expires_at=until,
            dash=packaged_file(details, details.dash_path),
            hls=packaged_file(details, details.hls_path),
            steering=ranked.ranking.steering if ranked.ranking else "",
        )
        secret = "~" + secrets.token_urlsafe(24)
        opened = await self._desk.records.open(session, secret, plan)
        if isinstance(opened, Refusal):
            raise _problem(opened)
        self._say(PlaybackEventKind.STARTED, session, ranked.source.value)
        return self._answer(session, opened, f"{base_url}/v1/play/{secret}")

    async def _renew(self, claims: AccessClaims, secret: str) -> Renewal:
        session = await self._desk.records.session(secret)
        if session is None or session.account_id != claims.sub:
            raise _no_session()
        _refuse(profile_refusal(claims, session.profile_id))
        _refuse(renewal_plan_refusal(session.tiers, plan_of(claims)))
        details = await self._desk.titles.details(session.title_id, claims.region)
        now = self._desk.clock.wall_s()
        _refuse(title_refusal(details, claims.region, now))
        renewed = await self._desk.records.renew(secret, now, now + session.duration_s + self._rules.token_extra_s)
        if renewed is None:
            raise _no_session()
        if renewed.refusal:
            raise _over(renewed.refusal)
        token, expires_at = self._signed(renewed.session, now)
        return Renewal(token, expires_at, expires_at - now)

    def _answer(self, session: Session, opened: Opened, address: str) -> PlayAnswer:
        expires_at = session.token_expires_at(session.started_at, self._rules.token_s)
        return PlayAnswer(
            session_id=session.id,
            dash_url=f"{address}/manifest.mpd",
            hls_url=f"{address}/master.m3u8",
            position_s=opened.position_s,
            duration_s=session.duration_s,
            heartbeat_url=f"{address}/beat",
            heartbeat_interval_s=self._rules.heartbeat_s,
            expires_at=expires_at,
            expires_in_s=expires_at - session.started_at,
            renew_url=f"{address}/renew",
        )

    async def _open_session(self, secret: str) -> Session:
        session = await self._desk.records.session(secret)
        if session is None:
            raise _no_session()
        over = session.over(self._desk.clock.wall_s())
        if over:
            raise _over(over)
        return session

    def _sheet(self, session: Session) -> Sheet:
        now = self._desk.clock.wall_s()
        token, _expires_at = self._signed(session, now)
        # Steering knows no renewals: it refuses the session from the end that the play was ranked with.
        is_steered = session.steering and now < session.started_at + session.duration_s + self._rules.token_extra_s
        steered = self._rules.steering_url + session.steering if self._rules.steering_url and is_steered else ""
        return Sheet(session.duration_s, session.routes, token, steered)

    def _signed(self, session: Session, now: float) -> tuple[str, float]:
        """A media token for the session, and when it ends."""
        claims = MediaClaims(
            issuer=ISSUER,
            session=session.id,
            prefix=f"/media/{session.title_id}/",
            tiers=session.tiers,
            expires_at=session.token_expires_at(now, self._rules.token_s),
            issued_at=now,
            not_before=session.started_at,
        )
        key = self._desk.key
        return codec_of(self._rules.token_format).sign(claims, key.private, key.kid), claims.expires_at

    def _say(self, kind: PlaybackEventKind, session: Session, reason: str = "", beat: PlayBeat | None = None) -> None:
        event = PlaybackEvent(
            event_id=secrets.token_hex(8),
            kind=kind,
            at=self._desk.clock.wall_s(),
            account_id=session.account_id,
            profile_id=session.profile_id,
            title_id=session.title_id,
            region=session.region,
            session_id=session.id,
            device_id=session.device_id,
            site_id=session.site_id,
            reason=reason,
        )
        if beat is not None:
            event = msgspec.structs.replace(
                event,
                position_s=beat.position_s,
                rendition=beat.rendition[:128],
                rebuffers=beat.rebuffers,
                bytes=beat.bytes,
            )
        self._desk.events.append(event)

    def _say_refused(self, claims: AccessClaims, request: PlayRequest, reason: str) -> None:
        event = PlaybackEvent(
            event_id=secrets.token_hex(8),
            kind=PlaybackEventKind.REFUSED,
            at=self._desk.clock.wall_s(),
            account_id=claims.sub,
            profile_id=request.profile_id[:64],
            title_id=request.title_id[:128],
            region=claims.region,
            device_id=request.device_id,
            reason=reason,
        )
        self._desk.events.append(event)


def _without_segments(route: Route) -> Route:
    """A session remembers what manifests are made from; the segment tables are in the files' own indexes."""
    return msgspec.structs.replace(route, rendition=msgspec.structs.replace(route.rendition, segments=()))


def _refuse(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _problem(refusal)


def _problem(refusal: Refusal) -> ProblemError:
    return ProblemError(refusal.code, refusal.detail, errors=refusal.lines)


def _no_session() -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, "there is no such session")


def _over(why: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"the session is over: {why}")
