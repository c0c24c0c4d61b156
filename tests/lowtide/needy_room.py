"""A room whose module cannot be imported because a dependency is missing."""

import not_there  # type: ignore[import-not-found]

app = not_there.app
