"""`python -m lowtide`: the command where the installed script is not on the path."""

from __future__ import annotations

from lowtide.cli import main

main()
