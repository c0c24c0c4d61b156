"""Keys and tokens that stay the same from run to run: ECDSA signs differently each time, and what was found must be found again."""

from __future__ import annotations

from joserfc.jwk import ECKey, OKPKey

from contracts.tokens.media import TokenFormat, codec_of
from tests.contracts.forging import CLAIMS, Pair

EC = Pair(
    "k1",
    "ES256",
    ECKey.import_key(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "-evkZBR8wQLZIyTQmdknwaUOQtV6CKEW_-wKKYGdjGU",
            "y": "cLr30SiIkCpqDB1nrdEDEjyFmrab-OlDHJOEkw1Lfu4",
            "d": "AAAAAAAAAAAAAAAAAAAAABI0VniQq83vEjRWeJCrze8",
        }
    ),
)
ED = Pair(
    "k2",
    "EdDSA",
    OKPKey.import_key(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",
            "d": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        }
    ),
)
KEYS = {pair.kid: pair.public for pair in (EC, ED)}
SIGNED_BY_EC = (
    (
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJjZG5pdiI6MSwiaXNzIjoicGxheWJhY2siLCJzdWIiOiJz"
        "LTEiLCJleHAiOjIwMDAuMCwiaWF0IjoxMDAwLjAsImNkbml1YyI6InJlZ2V4OlteL10rLy9bXi9dKy9tZWRpYS9sb3dcXC50aWRl"
        "LTEvKGJhc2V8c2QpL1teLz9dKyJ9.nu6Zv7WiE-pCEDbdA3dUI3gteGMvify72iiDISGeo_a4DOd94SeeviNX2qacl-lBXrlwJUi"
        "zOLAkfjgklqZ9JA"
    ),
    (
        "2D3ShEeiASYEQmsxoFhepgFocGxheWJhY2sCY3MtMQQZB9AGGQPoGQE2ARkBOKEDogFyL21lZGlhL2xvdy50aWRlLTEvBIF4JF4v"
        "bWVkaWEvbG93XC50aWRlLTEvKGJhc2V8c2QpL1teL10rJFhAdRQCzTCFevw3_cWdQf7bk-wCaQXAedOqNv6rTaMy6J_FbdNWXz-A"
        "QI1khbv6IdOOmgWmaqxl0jd5OKFkboJqYw"
    ),
)
TOKENS = (*SIGNED_BY_EC, *(codec_of(format_).sign(CLAIMS, ED.private, "k2", "EdDSA") for format_ in TokenFormat))
"""Both formats by both keys; all of them say `CLAIMS`."""
