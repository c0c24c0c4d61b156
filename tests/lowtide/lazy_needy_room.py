"""A room that notices only when a command runs that a dependency is missing."""

import typer

app = typer.Typer()


@app.callback()
def room() -> None:
    """Makes `run` a sub-command."""


@app.command()
def run() -> None:
    """Imports what it needs as late as it can."""
    import not_there  # type: ignore[import-not-found]

    not_there.run()
