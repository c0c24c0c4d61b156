"""One certificate for ours and for nginx: ECDSA on P-256, as most public sites have."""

from __future__ import annotations

import time
from pathlib import Path

from chassis.certificates import key_to_pem, make_ca, make_csr, make_key, sign_csr
from oca.config import Certificate

_NAME = "lowtide://benchmark/play"


def write(folder: Path) -> Certificate:
    """A new certificate and its key in the folder. Clients of a benchmark do not verify it."""
    authority, key, now = make_key(), make_key(), time.time()
    ca = make_ca(authority, "benchmark", now)
    pem = sign_csr(
        make_csr(key, _NAME), ca_pem=ca, ca_key=authority, uri=_NAME, addresses=("127.0.0.1", "localhost"), now=now
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificate(str(folder / "play.crt"), str(folder / "play.key"))
    Path(files.cert).write_text(pem)
    Path(files.key).write_bytes(key_to_pem(key))
    return files
