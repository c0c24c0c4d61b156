"""`python -m companions run …`."""

from companions.cli import app

app(prog_name="lowtide companions")
