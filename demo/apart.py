"""Digests of the packaged files, computed apart from origin and players: `sha256sum` and, in a process of its own, BLAKE3."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.digests import FileDigests

_BLAKE3 = """
import sys
from blake3 import blake3
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        print(blake3(file.read()).hexdigest(), name)
"""


def mismatches(published: Sequence[FileDigests], media_root: Path) -> tuple[int, tuple[str, ...]]:
    """(files compared, names whose file does not have its published digests). `media_root` holds `media/TITLE/…`."""
    paths = {digests.key.partition("|")[2]: digests for digests in published}
    files = [str(media_root / path.lstrip("/")) for path in paths]
    sha256 = _sums(["sha256sum", "--", *files])
    blake3_command = ["b3sum", "--", *files] if shutil.which("b3sum") else [sys.executable, "-c", _BLAKE3, *files]
    blake3 = _sums(blake3_command)
    wrong = [
        path
        for (path, digests), file in zip(paths.items(), files, strict=True)
        if sha256.get(file) != digests.sha256 or blake3.get(file) != digests.blake3
    ]
    return len(files), tuple(wrong)


def _sums(command: list[str]) -> dict[str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {name.strip(): digest for digest, _space, name in (line.partition(" ") for line in done.stdout.splitlines())}
