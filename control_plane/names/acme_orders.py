"""The CA by ACME (RFC 8555): DNS-01 orders for signing requests that others made. Never sees a box's key.

The library waits in its calls, so that each runs in a thread of a small pool; each thread has its own connection, all share one account,
which is made (or found again by its key) with the first order. Waiting for the CA happens between the calls: a stop is not held up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from acme import challenges, client, errors, messages
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from chassis import certificates
from chassis.clock import SYSTEM_CLOCK, Clock
from chassis.errors import CertificateError
from contracts.names import NameTrouble
from control_plane.config import AcmeSettings
from control_plane.names.ports import Challenge, IssuerError, Order

T = TypeVar("T")
AGENT = "lowtide"
AT_ONCE = 4
CALL_TIMEOUT_S = 20
POLL_S = 1.0
FETCH_S = 3.0
"""One look at a finalized order takes at most so long."""
_CHALLENGE_ERRORS = frozenset({"caa", "connection", "dns", "incorrectResponse", "unauthorized"})
"""Codes of RFC 8555 §6.7 that speak of what the CA found in the zone."""


class AcmeIssuer:
    """`account_key` is a file with an EC key, made with mode 0600 when missing. Close it at the end."""

    def __init__(self, settings: AcmeSettings, account_key: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._settings = settings
        self._account_key = account_key
        self._clock = clock
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="acme")
        self._local = threading.local()
        self._one_account = threading.Lock()
        self._one_key = threading.Lock()
        self._account: messages.RegistrationResource | None = None

    async def order(self, csr_pem: str) -> Order:
        """As the port says."""
        made = await self._aside(lambda: self._client().new_order(csr_pem.encode()))
        key = await self._aside(self._key)
        wanted = (_wanted(authorization, key) for authorization in made.authorizations)
        return Order(csr_pem, tuple(one for one in wanted if one is not None), made)

    async def validate(self, order: Order) -> None:
        """As the port says; at most `timeout_s`, then IssuerError SLOW."""
        pending = [one for one in _made(order).authorizations if one.body.status == messages.STATUS_PENDING]
        for authorization in pending:
            await self._aside(lambda one=authorization: self._answer(one))  # type: ignore[misc]
        until_s = self._clock.monotonic_s() + self._settings.timeout_s
        while pending:
            looked = [await self._aside(lambda one=one: self._client().poll(one)[0]) for one in pending]  # type: ignore[misc]
            pending = [one for one in looked if not _is_seen(one)]
            if pending and self._clock.monotonic_s() >= until_s:
                names = ", ".join(one.body.identifier.value for one in pending)
                raise IssuerError(
                    NameTrouble.SLOW, f"the CA has not looked at {names} within {self._settings.timeout_s:g} s"
                )
            if pending:
                await self._clock.sleep(POLL_S)

    async def finish(self, order: Order) -> str:
        """As the port says; at most `timeout_s`, then IssuerError SLOW."""
        made = await self._aside(lambda: self._client().begin_finalization(_made(order)))
        until_s = self._clock.monotonic_s() + self._settings.timeout_s
        while True:
            chain = await self._aside(lambda: self._fetched(made))
            if chain:
                return chain
            if self._clock.monotonic_s() >= until_s:
                raise IssuerError(
                    NameTrouble.SLOW, f"the CA has not signed the certificate within {self._settings.timeout_s:g} s"
                )

    async def close(self) -> None:
        """Calls under way end by themselves within their timeouts; nobody waits for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a thread of the pool, with the library's errors as IssuerError."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _translated, work)

    def _client(self) -> client.ClientV2:
        """This thread's; the first one makes the account."""
        found: client.ClientV2 | None = getattr(self._local, "client", None)
        if found is None:
            net = client.ClientNetwork(self._key(), alg=ES256, user_agent=AGENT, timeout=CALL_TIMEOUT_S)
            if self._settings.ca_file is not None:
                # The session below takes a file as well as a yes (requests: `verify`).
                net.verify_ssl = str(self._settings.ca_file)  # type: ignore[assignment]
            found = client.ClientV2(client.ClientV2.get_directory(self._settings.directory, net), net)
            with self._one_account:
                if self._account is None:
                    self._account = self._registered(found)
            net.account = self._account
            self._local.client = found
        return found

    def _registered(self, with_ca: client.ClientV2) -> messages.RegistrationResource:
        settings = self._settings
        binding = None
        if settings.eab_kid and settings.eab_key_file is not None:
            hmac_key = settings.eab_key_file.read_text(encoding="ascii").strip()
            public = self._key().public_key()
            binding = messages.ExternalAccountBinding.from_data(public, settings.eab_kid, hmac_key, with_ca.directory)
        wanted = messages.NewRegistration.from_data(
            contact=tuple(f"mailto:{address}" for address in settings.contacts),
            terms_of_service_agreed=settings.terms_agreed,
            external_account_binding=binding,
        )
        try:
            return with_ca.new_account(wanted)
        except errors.ConflictError as known:
            return messages.RegistrationResource(uri=known.location, body=messages.Registration())

    def _key(self) -> JWKEC:
        with self._one_key:
            if not self._account_key.exists():
                certificates.write_private(self._account_key, certificates.key_to_pem(certificates.make_key()))
            key = certificates.load_key(self._account_key.read_bytes())
        return JWKEC(key=ComparableECKey(key))

    def _answer(self, authorization: messages.AuthorizationResource) -> None:
        found = _dns_challenge(authorization)
        self._client().answer_challenge(found, found.chall.response(self._key()))

    def _fetched(self, made: messages.OrderResource) -> str:
        """The chain, or nothing yet."""
        try:
            # The library compares with the local time of the machine.
            deadline = datetime.now() + timedelta(seconds=FETCH_S)  # noqa: DTZ005
            return str(self._client().poll_finalization(made, deadline).fullchain_pem or "")
        except errors.TimeoutError:
            return ""


def _translated(work: Callable[[], T]) -> T:
    """What the library raises, in words, as IssuerError. `requests` raises OSError for whatever happens on the way."""
    try:
        return work()
    except messages.Error as error:
        raise _refusal(error) from error
    except errors.IssuanceError as error:
        raise _refusal(error.error) from error
    except errors.Error as error:
        raise IssuerError(NameTrouble.CA_REFUSED, f"the CA's answer was not understood: {error!r}") from error
    except (OSError, ValueError, CertificateError, JoseError) as error:
        raise IssuerError(NameTrouble.CA_AWAY, f"the CA cannot be asked: {error}") from error


def _refusal(error: messages.Error) -> IssuerError:
    code = str(error.typ).rpartition(":")[2]
    words = f"{code}: {error.detail or error.title or 'no reason given'}"
    if code == "rateLimited":
        return IssuerError(NameTrouble.RATE_LIMITED, words)
    return IssuerError(NameTrouble.CHALLENGE if code in _CHALLENGE_ERRORS else NameTrouble.CA_REFUSED, words)


def _made(order: Order) -> messages.OrderResource:
    assert isinstance(order.handle, messages.OrderResource), "an order of another adapter"
    return order.handle


def _dns_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    """Raises IssuerError where the CA offers no DNS-01."""
    for found in authorization.body.challenges:
        if isinstance(found.chall, challenges.DNS01):
            return found
    name = authorization.body.identifier.value
    raise IssuerError(NameTrouble.CA_REFUSED, f"the CA offers no dns-01 challenge for {name}")


def _wanted(authorization: messages.AuthorizationResource, key: JWKEC) -> Challenge | None:
    """What has to be published; None where the CA has validated the name before."""
    if authorization.body.status == messages.STATUS_VALID:
        return None
    text = _dns_challenge(authorization).chall.validation(key)
    return Challenge(str(authorization.body.identifier.value).lower(), str(text))


def _is_seen(authorization: messages.AuthorizationResource) -> bool:
    """Raises IssuerError when the CA did not find what it looked for."""
    status = authorization.body.status
    if status == messages.STATUS_VALID:
        return True
    if status in (messages.STATUS_PENDING, messages.STATUS_PROCESSING):
        return False
    said = [found.error for found in authorization.body.challenges if found.error is not None]
    raise _refusal(said[0]) if said else IssuerError(NameTrouble.CHALLENGE, f"the CA says: {status.name}")
