"""`lowtide token …`: sign a media token, say what one says, publish a key. Contracts are imported by the command that needs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

T = TypeVar("T")
USUAL_VALID_S = 12 * 3600.0

app = typer.Typer(
    help="Media tokens: sign one, say what one says, publish a key.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Key = Annotated[Path, typer.Option("--key", help="Private key on P-256 or Ed25519: PEM without a password, or a JWK.")]
Kid = Annotated[str, typer.Option("--kid", help="Its name in the key set. By default made from its thumbprint.")]
Alg = Annotated[str, typer.Option("--alg", help="ES256, EdDSA or Ed25519. By default the key's usual one.")]


class Written(Enum):
    """`--format`."""

    JWT = "jwt"
    CAT = "cat"


@app.command("sign")
def sign_command(
    key: Key,
    session: Annotated[str, typer.Option("--session", help="The session it is for; it is revoked by this name.")],
    tier: Annotated[list[str], typer.Option("--tier", help="A tier it opens; may be repeated.")],
    title: Annotated[str, typer.Option("--title", help="The title it opens.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="Instead of --title: /media/TITLE/.")] = "",
    valid_s: Annotated[float, typer.Option("--valid-s", help="Seconds until it expires.")] = USUAL_VALID_S,
    format_: Annotated[Written, typer.Option("--format", help="jwt (RFC 9246) or cat (CTA-5007).")] = Written.JWT,
    kid: Kid = "",
    alg: Alg = "",
    issuer: Annotated[str, typer.Option("--issuer", help="Who signs.")] = "lowtide-token",
) -> None:
    """Sign a media token and print it."""
    from contracts.tokens.claims import MediaClaims, TokenRefused
    from contracts.tokens.media import TokenFormat, codec_of
    from contracts.tokens.signatures import algorithms_of, name_of, read_private

    if bool(title) == bool(prefix):
        _wrong("name either --title or --prefix")
    if valid_s <= 0:
        _wrong("--valid-s: is not above 0")
    private, now = _read("--key", key, read_private), float(int(time.time()))
    try:
        claims = MediaClaims.checked(
            issuer=issuer,
            session=session,
            scope=(prefix or f"/media/{title}/", tuple(tier)),
            expires_at=now + valid_s,
            issued_at=now,
            not_before=None,
        )
        usual = algorithms_of(private)[0]
        token = codec_of(TokenFormat(format_.value)).sign(claims, private, kid or name_of(private), alg or usual)
    except (TokenRefused, ValueError) as error:
        _wrong(str(error))
    typer.echo(token)


@app.command("inspect")
def inspect_command(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token, or a whole media address that carries one.")],
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="A key set (keys.json of an appliance): would the token open the path?"),
    ] = None,
    path: Annotated[str, typer.Option("--path", help="/media/TITLE/TIER/FILE; by default the address's own.")] = "",
) -> None:
    """Say what a token says. With --keys: exit code 0 when it opens the path now, 1 when an appliance would refuse it."""
    from contracts.tokens.claims import TokenRefused
    from contracts.tokens.inspecting import described, find_token, judged, read_key_set

    found, own_path = find_token(token)
    now = time.time()
    known = _read("--keys", keys, read_key_set) if keys is not None else None
    if known is not None and not (path or own_path):
        _wrong("--path: name the address that the token should open")
    try:
        rows = list(described(found, now))
    except TokenRefused as refused:
        if known is None:
            _wrong(str(refused))
        rows = []
    for name, words in rows:
        typer.echo(f"{name:12} {words}")
    if known is None:
        typer.echo("unverified: no --keys")
        return
    verdict = judged(found, known, path or own_path, now)
    typer.echo(verdict.sentence)
    if verdict.refused is not None:
        raise typer.Exit(1)


@app.command("public")
def public_command(key: Key, kid: Kid = "", alg: Alg = "") -> None:
    """Print the public part of a key as a key set, as appliances keep it in keys.json."""
    import msgspec

    from contracts.keys import KeySet, KeyUse
    from contracts.tokens.signatures import algorithms_of, name_of, published, read_private

    private = _read("--key", key, read_private)
    usual = algorithms_of(private)
    if alg and alg not in usual:
        _wrong(f"--alg: a key of this kind signs with {' or '.join(usual)}")
    public = published(private, kid or name_of(private), KeyUse.MEDIA, alg or usual[0])
    typer.echo(msgspec.json.format(msgspec.json.encode(KeySet(1, (public,)))).decode())


def _read(option: str, file: Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(file.read_bytes())
    except OSError as error:
        _wrong(f"{option}: {error}")
    except ValueError as error:
        _wrong(f"{option}: {file} {error}")


def _wrong(words: str) -> NoReturn:
    typer.echo(f"lowtide token: {words}", err=True)
    raise typer.Exit(2)
