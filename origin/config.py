"""Settings of the origin: `lowtide origin run` and `lowtide origin worker` read the same file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from chassis.https import Https
from origin.ladder import DEFAULT_RUNGS, Rung

ENV_PREFIX = "LOWTIDE_ORIGIN_"
SCALERS = ("bicubic", "bilinear", "fast_bilinear", "lanczos")
WILDCARDS = ("0.0.0.0", "::")
AUDIO_CODERS = ("twoloop", "fast")


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to accept connections on."""

    host: Annotated[str, MinLen(1), Doc("IP address to bind; an IPv6 address without brackets.")] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("TCP port; 0 takes any free one.")] = 0
    public_url: Annotated[
        str, Doc("Base URL under which others reach this listener; empty means the address it listens on.")
    ] = ""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where titles are announced and keys come from."""

    url: Annotated[str, Doc("Base URL of the control plane's mutual-TLS listener; empty announces nowhere.")] = ""
    keys_interval_s: Annotated[float, Gt(0), Doc("Time between two fetches of the public keys, in seconds.")] = 10.0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Where viewers' side of a title is announced."""

    url: Annotated[str, Doc("Base URL of the catalog; empty announces nothing there.")] = ""
    secret_file: Annotated[Path | None, Doc("File with the bearer secret that the catalog takes from the origin.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How the origin gets its certificate."""

    name: Annotated[str, MinLen(1), Doc("Name of this service in its certificate.")] = "origin"
    code_file: Annotated[Path | None, Doc("File with the one-time enrolment code; deleted after use.")] = None
    addresses: Annotated[
        tuple[str, ...], Doc("Host names and IP addresses that appliances dial, put into the certificate.")
    ] = ("127.0.0.1", "localhost")
    patience_s: Annotated[
        float, Gt(0), Doc("How long to wait for the control plane at the first start, in seconds.")
    ] = 60.0


@dataclass(frozen=True, slots=True)
class Ingest:
    """What is taken in."""

    max_source_bytes: Annotated[int, Gt(0), Doc("Largest source file, in bytes.")] = 200_000_000_000
    min_duration_s: Annotated[float, Ge(0), Doc("Shortest video that becomes a title, in seconds.")] = 2.0
    idle_s: Annotated[float, Gt(0), Doc("An upload without a byte for so long is broken off, in seconds.")] = 20.0


@dataclass(frozen=True, slots=True)
class Encode:
    """How titles are encoded."""

    rungs: Annotated[tuple[Rung, ...], MinLen(1), Doc("The ladder; pictures larger than the source are left out.")] = (
        DEFAULT_RUNGS
    )
    audio_bitrate_bps: Annotated[int, Ge(16_000), Doc("AAC rate per sound track, in bits per second.")] = 96_000
    audio_coder: Annotated[str, Doc("AAC search: twoloop (better) or fast (a third of the time).")] = "twoloop"
    chunk_s: Annotated[
        float, Gt(0), Doc("Length of a chunk in seconds; what a killed worker has to repeat at most.")
    ] = 120.0
    threads: Annotated[int, Ge(1), Le(64), Doc("Threads of one encoder, per picture.")] = 2
    parallel: Annotated[int, Ge(1), Le(64), Doc("Chunks of one title that are encoded at the same time.")] = 1
    nice: Annotated[int, Ge(0), Le(19), Doc("Niceness of encoders: 10 leaves the machine to those who serve.")] = 10
    scaler: Annotated[str, Doc("ffmpeg's scaler: bicubic, bilinear, fast_bilinear or lanczos.")] = "bicubic"

    def __post_init__(self) -> None:
        if self.scaler not in SCALERS:
            raise ValueError(f"scaler {self.scaler!r} is not one of {', '.join(SCALERS)}")
        if self.audio_coder not in AUDIO_CODERS:
            raise ValueError(f"audio_coder {self.audio_coder!r} is not one of {', '.join(AUDIO_CODERS)}")
        heights = [rung.height for rung in self.rungs]
        if len(set(heights)) != len(heights):
            raise ValueError("two rungs have the same height")


@dataclass(frozen=True, slots=True)
class JobRules:
    """How work is leased and repeated."""

    lease_s: Annotated[float, Gt(0), Doc("A worker that is silent for so long loses its job, in seconds.")] = 10.0
    poll_s: Annotated[float, Gt(0), Doc("How often an idle worker looks for work, in seconds.")] = 0.5
    max_attempts: Annotated[int, Ge(1), Doc("Attempts per stage before a title is rejected.")] = 4
    first_wait_s: Annotated[float, Gt(0), Doc("Wait after the first failed attempt, in seconds; doubles.")] = 0.5
    longest_wait_s: Annotated[float, Gt(0), Doc("Longest wait between two attempts, in seconds.")] = 30.0


@dataclass(frozen=True, slots=True)
class Worker:
    """`lowtide origin worker`."""

    http: Annotated[Listen, Doc("Health, readiness and metrics of a worker.")] = field(default_factory=Listen)
    slots: Annotated[int, Ge(1), Le(64), Doc("Titles one worker process works on at the same time.")] = 1


@dataclass(frozen=True, slots=True)
class AccessLogging:
    """The log of what players fetch here (docs/access-log.md)."""

    access: Annotated[bool, Doc("Whether answers to players are logged.")] = True
    ipv4_bits: Annotated[int, Ge(0), Le(32), Doc("How far clients' IPv4 addresses are cut; 32 keeps them whole.")] = 24
    ipv6_bits: Annotated[int, Ge(0), Le(128), Doc("How far clients' IPv6 addresses are cut; 128 keeps them whole.")] = (
        48
    )
    file_bytes: Annotated[int, Ge(4096), Doc("Size in bytes at which a file is complete.")] = 64 << 20
    file_s: Annotated[float, Gt(0), Doc("Age in seconds at which a file is complete.")] = 3600.0
    files: Annotated[int, Ge(1), Doc("How many complete files are kept.")] = 24
    keep_s: Annotated[float, Ge(3600), Doc("How long a complete file is kept, in seconds.")] = 86_400.0


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """The whole configuration."""

    state_dir: Annotated[Path, Doc("Folder of the database, uploads, work in progress, certificate and objects.")]
    operator_token_file: Annotated[Path, Doc("File with the operator token that write routes take.")]
    objects_url: Annotated[
        str,
        Doc("Where published media lies: empty for a folder in state_dir, else a URL as obstore takes it (s3://…)."),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], Doc("Lowest level that is written.")
    ] = "info"
    http: Annotated[Listen, Doc("Ingest, and media for players.")] = field(default_factory=Listen)
    https: Annotated[Https, Doc("Media for players by TLS, a second door beside http.")] = field(default_factory=Https)
    mtls: Annotated[Listen, Doc("Media for appliances.")] = field(default_factory=Listen)
    control_plane: Annotated[ControlPlane, Doc("The control plane.")] = field(default_factory=ControlPlane)
    catalog: Annotated[Catalog, Doc("The catalog.")] = field(default_factory=Catalog)
    enrolment: Annotated[Enrolment, Doc("The certificate.")] = field(default_factory=Enrolment)
    ingest: Annotated[Ingest, Doc("Uploads.")] = field(default_factory=Ingest)
    encode: Annotated[Encode, Doc("The ladder and its encoders.")] = field(default_factory=Encode)
    jobs: Annotated[JobRules, Doc("Leases and repetition.")] = field(default_factory=JobRules)
    worker: Annotated[Worker, Doc("Workers.")] = field(default_factory=Worker)
    log: Annotated[AccessLogging, Doc("The access log.")] = field(default_factory=AccessLogging)

    def __post_init__(self) -> None:
        wrong = [
            f"{name}.public_url: must be set where {name}.host is a wildcard: others would be told to dial {at.host}"
            for name, at in (("http", self.http), ("mtls", self.mtls))
            if self.control_plane.url and at.host in WILDCARDS and not at.public_url
        ]
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def database(self) -> Path:
        return self.state_dir / "origin.sqlite"

    @property
    def titles(self) -> Path:
        """One folder per title with its source and everything made from it before publication."""
        return self.state_dir / "titles"

    @property
    def identity(self) -> Path:
        """Key and certificate."""
        return self.state_dir / "identity"
