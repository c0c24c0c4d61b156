"""`python -m control_plane` is `lowtide control-plane`."""

from control_plane.cli import app

app()
