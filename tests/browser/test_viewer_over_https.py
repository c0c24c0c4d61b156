"""The viewer page by HTTPS: every appliance has its own host name and a certificate from a real CA, for a key made on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis.certificates import key_to_pem, make_key, write_private
from contracts.names import NameList, NameState
from control_plane.config import AcmeSettings
from control_plane.names.acme_orders import AcmeIssuer
from control_plane.names.updates import Updates, tsig_key
from control_plane.names.zone import challenges_of
from demo.operator import read_token
from onebox.layout import LABELS
from onebox.topology import PublicSpec
from tests.browser.chromium import Tab, open_tab, unexpected
from tests.browser.viewer_page import ViewerPage
from tests.control_plane.names.fakes import csr_for
from tests.system.acme_world import HOST, KEY_NAME, Knot, Pebble, program, running_knot, running_pebble
from tests.system.small_system import FILM_S, FILMS, SmallSystem, open_small_system

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="session")]
ZONE = "cdn.test"
FILM = FILMS[0].title
NAMED_WITHIN_S = 60.0
ASKED_STEERING = f"""
performance.getEntriesByType("resource").some(
  (entry) => entry.name.startsWith("https://steering.{ZONE}/v1/steering/") && entry.responseStatus === 200)
"""


@dataclass
class Public:
    """A whole system under public names."""

    system: SmallSystem
    knot: Knot
    pebble: Pebble

    async def names(self) -> NameList:
        return msgspec.json.decode(await self.operator("GET", "/v1/names"), type=NameList)

    async def operator(self, method: str, path: str) -> bytes:
        box = self.system.box
        bearer = {"Authorization": f"Bearer {read_token(box.operator_token_file)}"}
        async with httpx.AsyncClient(base_url=box.url("control-plane"), headers=bearer) as client:
            answer = await client.request(method, path)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def until_told(self) -> None:
        """Until players are told the https address of every appliance."""
        wanted = {f"https://{name}.{ZONE}" for name in self.system.appliances}
        async with asyncio.timeout(NAMED_WITHIN_S):
            while True:
                overview = await self.system.operator.overview()
                if wanted == {
                    url for one in overview.appliances for url in one.appliance.player_urls if "https" in url
                }:
                    return
                await asyncio.sleep(0.2)

    def certificate_of(self, name: str) -> x509.Certificate:
        """What lies on the appliance."""
        file = self.system.box.root / "oca" / name / "state" / "names" / f"{name}.{ZONE}.pem"
        return x509.load_pem_x509_certificates(file.read_bytes())[0]


async def service_certificate(folder: Path, knot: Knot, pebble: Pebble) -> tuple[Path, Path]:
    """One for the names of all services, from the same CA: (chain, key)."""
    key = make_key()
    issuer = AcmeIssuer(AcmeSettings(pebble.directory, pebble.ca_file, terms_agreed=True), folder / "services-acme.key")
    zone = Updates(HOST, knot.port, ZONE, 5, tsig_key(KEY_NAME, knot.key_file.read_text(), "hmac-sha256"))
    order = await issuer.order(csr_for(*(f"{label}.{ZONE}" for label in LABELS.values()), key=key))
    texts = challenges_of({challenge.host: (challenge.text,) for challenge in order.challenges})
    await zone.publish(texts, {})
    await issuer.validate(order)
    chain, key_file = folder / "services.pem", folder / "services.key"
    chain.write_text(await issuer.finish(order))
    write_private(key_file, key_to_pem(key))
    await zone.publish({}, texts)
    await issuer.close()
    return chain, key_file


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def public(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Public]:
    folder = tmp_path_factory.mktemp("public")
    async with AsyncExitStack() as stack:
        knot = await stack.enter_async_context(running_knot(folder / "knot", ZONE))
        pebble = await stack.enter_async_context(running_pebble(folder / "pebble", knot.port))
        chain, key = await service_certificate(folder, knot, pebble)
        spec = PublicSpec(
            ZONE,
            pebble.directory,
            str(pebble.ca_file),
            HOST,
            knot.port,
            KEY_NAME,
            str(knot.key_file),
            str(chain),
            str(key),
        )
        system = await stack.enter_async_context(open_small_system(folder, public=spec))
        found = Public(system, knot, pebble)
        await found.until_told()
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def tab(tmp_path: Path, public: Public) -> AsyncIterator[Tab]:
    """A browser that trusts the CA and finds the names, and nothing else that is special."""
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    root = tmp_path / "root.pem"
    root.write_text(public.pebble.root_pem)
    for words in (("-N", "--empty-password"), ("-A", "-n", "pebble", "-t", "C,,", "-i", str(root))):
        done = await asyncio.create_subprocess_exec(program("certutil"), "-d", f"sql:{store}", *words)
        assert await done.wait() == 0
    doors = public.system.box.layout.doors()
    rules = ", ".join(f"MAP {name} {address}:{port}" for name, (address, port) in doors.items())
    flag = f"--host-resolver-rules={rules}"
    async with open_tab(tmp_path / "browser", flag, size=(1360, 900), env={"HOME": str(tmp_path)}) as made:
        yield made


async def test_every_appliance_has_a_name_in_the_zone_and_a_certificate_for_a_key_of_its_own(public: Public) -> None:
    names = (await public.names()).names
    assert {name.host for name in names} == {f"{name}.{ZONE}" for name in public.system.appliances}
    assert {name.state for name in names} == {NameState.ISSUED}
    keys = set()
    for spec in public.system.box.topology.appliances:
        assert await public.knot.look(f"{spec.id}.{ZONE}", "A") == (spec.address,)
        assert await public.knot.look(f"_acme-challenge.{spec.id}.{ZONE}", "TXT") == ()
        key = public.certificate_of(spec.id).public_key()
        keys.add(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert len(keys) == len(names)


async def test_the_page_plays_by_https_from_host_to_host_while_one_after_the_other_is_gone(
    public: Public, tab: Tab
) -> None:
    """Three names: both of the site, and the origin when they are gone."""
    system = public.system
    page = ViewerPage(tab, system.box.viewer_url)
    assert system.box.viewer_url == f"https://watch.{ZONE}/"
    await page.arrive("Ann", system.box.topology.sites[0])
    used: list[str] = []
    try:
        for film in FILMS:
            await page.open_title(film.title.name)
            await page.press_play()
            await page.until_position(1.0)
            await page.sees_a_moving_picture()
            used.append(await last_video_host(page))
            system.box.pull_the_plug(used[-1].partition(".")[0])
            killed_ms = await page.now_ms()
            await page.jump(FILM_S - 10.0)
            await page.until_position(FILM_S - 7.0, 40.0)
            await page.sees_a_moving_picture()
            assert not {entry.host for entry in await page.received(killed_ms)} & set(used)
            last = await last_video_host(page, killed_ms)
            await tab.value("location.hash = '#/'")
            await tab.until("document.querySelector('main.home .card')")
    finally:
        for host in used:
            system.box.revive(host.partition(".")[0])
    assert set(used) == {f"a1.{ZONE}", f"a2.{ZONE}"}
    assert last == f"origin.{ZONE}"
    assert unexpected(tab.errors, *used) == []
    for host in used:
        await system.until_live(host.partition(".")[0])
    await public.until_told()


async def test_the_page_plays_in_the_other_network_from_the_name_of_its_appliance(public: Public, tab: Tab) -> None:
    page = ViewerPage(tab, public.system.box.viewer_url)
    await page.arrive("Cay", public.system.box.topology.sites[1])
    await page.open_title(FILM.name)
    await page.press_play()
    await page.until_position(1.0)
    await page.sees_a_moving_picture()
    assert {entry.host for entry in await page.received()} == {f"b1.{ZONE}"}
    await tab.until(ASKED_STEERING)
    assert tab.errors == []


async def last_video_host(page: ViewerPage, since_ms: float = 0.0) -> str:
    return [entry.host for entry in await page.received(since_ms) if entry.file.startswith("v-")][-1]


async def test_certificates_are_renewed_for_new_keys_while_the_page_plays(public: Public, tab: Tab) -> None:
    page = ViewerPage(tab, public.system.box.viewer_url)
    await page.arrive("Bea", public.system.box.topology.sites[0])
    await page.open_title(FILM.name)
    await page.press_play()
    await page.until_position(1.0)
    before = {name: public.certificate_of(name).serial_number for name in public.system.appliances}
    for name in public.system.appliances:
        await public.operator("POST", f"/v1/names/{name}/order")
    async with asyncio.timeout(NAMED_WITHIN_S):
        while any(public.certificate_of(name).serial_number == serial for name, serial in before.items()):  # noqa: ASYNC110  files of other processes
            await asyncio.sleep(0.2)
    # Workers look once a second; what the page asks for from here on is answered by connections of before and after.
    await page.jump(FILM_S - 10.0)
    await page.until_position(FILM_S - 8.0, 30.0)
    await page.sees_a_moving_picture()
    assert tab.errors == []
    assert all(name.usable for name in (await public.names()).names)
    assert min(name.expires_at for name in (await public.names()).names) > time.time()
