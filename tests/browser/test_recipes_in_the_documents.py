"""What docs/players.md shows is what is tested."""

from __future__ import annotations

import re

from tests.browser.player_bed import HERE

PAGE = HERE.parents[1] / "docs" / "players.md"


def test_the_page_about_players_shows_the_recipes_that_are_tested() -> None:
    tested = (HERE / "bed" / "recipes.js").read_text(encoding="utf-8")
    shown = re.findall(r"```js\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(shown) == len(re.findall(r"^export ", tested, re.MULTILINE)) == 3
    assert all(recipe in tested for recipe in shown)
