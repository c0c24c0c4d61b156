"""A service's own ES256 key: made at first start, readable by its owner only, named by its thumbprint (RFC 7638)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import ECKey

from chassis.certificates import key_to_pem, load_key, make_key, write_private
from contracts.keys import KeyUse, PublicKey

ALGORITHM = "ES256"
KID_CHARS = 16


@dataclass(frozen=True, slots=True)
class OwnKey:
    """The private key with its name. Only `public` may leave the process."""

    kid: str
    use: KeyUse
    private: ECKey

    @property
    def public(self) -> PublicKey:
        fields = self.private.as_dict(private=False)
        jwk = {name: str(fields[name]) for name in ("kty", "crv", "x", "y")}
        return PublicKey(kid=self.kid, use=self.use, alg=ALGORITHM, jwk=jwk)


def load_or_make(path: Path, use: KeyUse) -> OwnKey:
    """The key in `path` (PKCS #8 PEM), made there with mode 0600 when the file is missing.

    Raises CertificateError when the file holds something else, OSError when it cannot be read or written.
    """
    if not path.exists():
        write_private(path, key_to_pem(make_key()))
    pem = path.read_bytes()
    load_key(pem)
    private = ECKey.import_key(pem)
    return OwnKey(f"{use.value}-{private.thumbprint()[:KID_CHARS]}", use, private)
