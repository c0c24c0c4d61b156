"""Settings of the catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from companions.settings import Http


@dataclass(frozen=True, slots=True)
class Catalog:
    """Configuration of `lowtide companions run catalog`."""

    database: Annotated[Path, Doc("SQLite file of titles and their words")]
    secret_file: Annotated[
        Path,
        Doc("Secret that the origin publishes with (bearer); 32 random bytes are written there when it is missing"),
    ]
    http: Annotated[Http, Doc("Where it listens")] = field(default_factory=Http)
    page_titles: Annotated[int, Ge(1), Le(500), Doc("Titles on one page of a list")] = 50
    search_titles: Annotated[int, Ge(1), Le(500), Doc("Titles that a search answers at most")] = 50
