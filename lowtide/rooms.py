"""Which command lives where: the module of each room, the extra that installs its dependencies, its settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SettingsOf:
    """The root of one configuration file. `name` is what `lowtide config` calls it; the environment prefix comes from it."""

    name: str
    module: str
    cls: str


@dataclass(frozen=True, slots=True)
class Room:
    """One word after `lowtide`. `module` has a typer application called `app`."""

    command: str
    module: str
    extra: str
    summary: str
    settings: tuple[SettingsOf, ...] = ()


ROOMS = (
    Room(
        "oca",
        "oca.cli",
        "oca",
        "The appliance: serves ranges, keeps the store, fills itself, reports.",
        (SettingsOf("oca", "oca.config", "Appliance"),),
    ),
    Room(
        "control-plane",
        "control_plane.cli",
        "control-plane",
        "The record of what exists and what should: sites, appliances, plans, keys.",
        (SettingsOf("control-plane", "control_plane.config", "ControlPlaneSettings"),),
    ),
    Room(
        "steering",
        "steering.cli",
        "steering",
        "Ranks appliances for each playback request.",
        (SettingsOf("steering", "steering.config", "SteeringSettings"),),
    ),
    Room(
        "origin",
        "origin.cli",
        "origin",
        "Ingest, encode, package, check, publish; serves media as the last resort.",
        (SettingsOf("origin", "origin.config", "OriginSettings"),),
    ),
    Room(
        "companions",
        "companions.cli",
        "companions",
        "The services around it: auth, catalog, recommendation, playback.",
        (SettingsOf("companions", "companions.config", "Companions"),),
    ),
    Room(
        "fill-planner",
        "fill_planner.cli",
        "fill-planner",
        "Plans by hand: forecast, placement, fill schedule.",
        (SettingsOf("fill-planner", "fill_planner.config", "PlannerSettings"),),
    ),
    Room("token", "lowtide.tokens", "", "Signs media tokens and says what one says."),
    Room(
        "up",
        "onebox.cli",
        "all,player",
        "Runs the whole system on this machine and keeps its state in a folder.",
        (SettingsOf("up", "onebox.topology", "Topology"),),
    ),
    Room("demo", "demo.cli", "all,player", "Plays the whole story with real processes and shows the figures."),
)
SETTINGS = tuple(settings for room in ROOMS for settings in room.settings)
