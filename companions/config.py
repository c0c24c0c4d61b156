"""The configuration file of `lowtide companions run`: a section for each companion that the process may run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from companions.auth.config import Auth
from companions.catalog.config import Catalog
from companions.playback.config import Playback
from companions.recommendation.config import Recommendation

ENV_PREFIX = "LOWTIDE_COMPANIONS_"
NAMES = ("auth", "catalog", "recommendation", "playback")
LogLevel = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class Companions:
    """A companion is run when it is named and has a section; environment: `LOWTIDE_COMPANIONS_AUTH__HTTP__PORT`."""

    auth: Annotated[Auth | None, Doc("Accounts, profiles, log-ins")] = None
    catalog: Annotated[Catalog | None, Doc("Titles and where they are shown")] = None
    recommendation: Annotated[Recommendation | None, Doc("Rows of the home page")] = None
    playback: Annotated[Playback | None, Doc("Plays, manifests, positions")] = None
    log_level: Annotated[LogLevel, Doc("The least serious kind of log line that is written")] = "info"
