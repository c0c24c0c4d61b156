"""The modules that decide touch no clock, no chance and no outside world: those come in as arguments (DESIGN §1)."""

from __future__ import annotations

import ast

import pytest

from tests.house.source import Module, inside, modules

OUTSIDE = frozenset(
    (
        "aiofastnet", "aiofiles", "aiohttp", "aiosqlite", "asyncio", "fcntl", "httpx", "lmdb", "logging", "mmap", "multiprocessing",
        "obstore", "os", "random", "secrets", "select", "shutil", "signal", "socket", "sqlalchemy", "ssl", "structlog", "subprocess",
        "tempfile", "threading", "time", "urllib", "uuid",
    )
)  # fmt: skip
PURE_PARTS_OF_OUTSIDE = ("urllib.parse",)

DECIDING = (
    "chassis.clients",
    "companions.auth.accounts",
    "companions.auth.attempts",
    "companions.auth.refreshing",
    "companions.bounded",
    "companions.catalog.paging",
    "companions.catalog.titles",
    "companions.catalog.words",
    "companions.playback.devices",
    "companions.playback.entitlement",
    "companions.playback.manifest_mpd",
    "companions.playback.master_m3u8",
    "companions.playback.pathways",
    "companions.playback.personal_m3u8",
    "companions.playback.personal_mpd",
    "companions.playback.popularity",
    "companions.playback.positions",
    "companions.playback.sessions",
    "companions.playback.sheets",
    "companions.recommendation.rows",
    "companions.recommendation.similarity",
    "contracts",
    "control_plane.changes",
    "control_plane.composing",
    "control_plane.enrolment",
    "control_plane.feeding",
    "control_plane.health",
    "control_plane.ingestion",
    "control_plane.lifecycle",
    "control_plane.losses",
    "control_plane.names.ports",
    "control_plane.names.signing",
    "control_plane.names.states",
    "control_plane.names.telling",
    "control_plane.names.wording",
    "control_plane.names.zone",
    "control_plane.nightly_facts",
    "control_plane.nightly_page",
    "control_plane.pinning",
    "control_plane.plans",
    "control_plane.plots",
    "control_plane.registry",
    "control_plane.routes.admission",
    "control_plane.routes.book",
    "control_plane.routes.explorer",
    "control_plane.routes.lines",
    "control_plane.routes.mrt",
    "control_plane.routes.reserved",
    "control_plane.routes.roas",
    "control_plane.routes.sessions",
    "control_plane.site_hours",
    "control_plane.upstreams",
    "control_plane.windows",
    "demo.measures",
    "fill_planner.bound",
    "fill_planner.clusters",
    "fill_planner.demand",
    "fill_planner.explaining",
    "fill_planner.forecast",
    "fill_planner.mixing",
    "fill_planner.outofcycle",
    "fill_planner.placement",
    "fill_planner.plan",
    "fill_planner.popularity",
    "fill_planner.schedule",
    "fill_planner.simulator.catalogue",
    "fill_planner.simulator.demand",
    "fill_planner.simulator.figures",
    "fill_planner.simulator.fluid",
    "fill_planner.simulator.optimum",
    "fill_planner.simulator.planning",
    "fill_planner.simulator.plot",
    "fill_planner.simulator.planning",
    "fill_planner.simulator.regions",
    "fill_planner.simulator.replay",
    "fill_planner.simulator.run",
    "fill_planner.simulator.scenario",
    "fill_planner.simulator.shape",
    "fill_planner.simulator.telling",
    "fill_planner.simulator.weekly",
    "fill_planner.simulator.whatif",
    "fill_planner.snapshot",
    "fill_planner.sources",
    "fill_planner.toplists",
    "oca.http",
    "oca.keeper.division",
    "oca.keeper.filling",
    "oca.keeper.naming",
    "oca.keeper.networks",
    "oca.keeper.pruning",
    "oca.keeper.reporting",
    "oca.keeper.budget",
    "oca.keeper.circuits",
    "oca.keeper.firstbytes",
    "oca.keeper.ratecap",
    "oca.keeper.sourcing",
    "oca.keeper.yielding",
    "oca.link.messages",
    "oca.link.passing",
    "oca.link.records",
    "oca.link.roster",
    "oca.logger.rotation",
    "oca.routes.bird",
    "oca.routes.exabgp",
    "oca.routes.table",
    "oca.routes.telling",
    "oca.store.batching",
    "oca.store.blocks",
    "oca.store.holdings",
    "oca.store.marks",
    "oca.store.placement",
    "oca.store.promotion",
    "oca.store.pulled",
    "oca.store.purge",
    "oca.store.recent",
    "oca.store.slots",
    "oca.store.space",
    "oca.worker.accounting",
    "oca.worker.acknowledged",
    "oca.worker.suggesting",
    "oca.worker.tcpinfo",
    "oca.worker.offline",
    "oca.link.seen",
    "oca.link.variants",
    "oca.supervisor.rolling",
    "oca.supervisor.slots",
    "oca.worker.admission",
    "oca.worker.egress",
    "oca.worker.hints",
    "oca.worker.pacing",
    "oca.worker.recognition",
    "onebox.layout",
    "onebox.restarts",
    "onebox.topology",
    "origin.boxes",
    "origin.ladder",
    "origin.manifests",
    "origin.ranges",
    "origin.states",
    "player.adaptation",
    "player.guidance",
    "player.playlists",
    "player.presentation",
    "player.steering",
    "player.timeline",
    "policies",
    "steering.announcing",
    "steering.candidates",
    "steering.content_steering",
    "steering.counted",
    "steering.decided",
    "steering.explaining",
    "steering.hashing",
    "steering.heard",
    "steering.ladder",
    "steering.misses",
    "steering.plays",
    "steering.prefixes",
    "steering.ranking",
    "steering.replaying",
    "steering.reservations",
    "steering.sessions",
    "steering.shelves",
    "steering.standing",
    "steering.vigilance",
    "steering.world",
)


def deciding() -> list[Module]:
    return [module for module in modules() if any(inside(module.name, name) for name in DECIDING)]


@pytest.mark.parametrize("name", DECIDING)
def test_the_table_names_modules_that_exist(name: str) -> None:
    assert any(inside(module.name, name) for module in modules())


@pytest.mark.parametrize("module", deciding(), ids=lambda module: module.name)
def test_a_deciding_module_imports_nothing_of_the_outside(module: Module) -> None:
    wrong = [
        f"{module.where}:{line} imports {name}"
        for name, line in module.imports()
        if name.partition(".")[0] in OUTSIDE and not any(inside(name, pure) for pure in PURE_PARTS_OF_OUTSIDE)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", deciding(), ids=lambda module: module.name)
def test_a_deciding_module_reads_no_clock_and_opens_no_file(module: Module) -> None:
    wrong = []
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="open" | "input" | "print")):
                wrong.append(f"{module.where}:{node.lineno}")
            case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today", value=ast.Name(id="datetime" | "date"))):
                wrong.append(f"{module.where}:{node.lineno}")
            case ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes" | "write_text" | "write_bytes")):
                wrong.append(f"{module.where}:{node.lineno}")
    assert wrong == []
