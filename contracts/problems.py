"""Problem details for JSON errors (RFC 9457). One row per reason: code, status, title.

The code is what programs match on; it is the last part of the problem's `type` URI and never changes its meaning.
"""

from __future__ import annotations

from enum import Enum

import msgspec

TYPE_PREFIX = "https://lowtide.example/problems/"
CONTENT_TYPE = "application/problem+json"


class ProblemCode(Enum):
    """Every reason a Lowtide service refuses a request with: (code, HTTP status, title)."""

    BAD_REQUEST = ("bad-request", 400, "The request is malformed")
    BAD_JSON = ("bad-json", 400, "The body is not the JSON that this address takes")
    BAD_QUERY = ("bad-query", 400, "A query parameter is wrong")
    UPLOAD_TRUNCATED = ("upload-truncated", 400, "Fewer bytes arrived than were announced")
    DIGEST_MISMATCH = ("digest-mismatch", 400, "The bytes do not have the announced digest")
    UNAUTHENTICATED = ("unauthenticated", 401, "Credentials are missing or not valid")
    WRONG_PASSWORD = ("wrong-password", 401, "The e-mail address or the password is wrong")
    TOKEN_EXPIRED = ("token-expired", 401, "The access token has expired")
    FORBIDDEN = ("forbidden", 403, "These credentials do not allow this")
    CERTIFICATE_REQUIRED = ("certificate-required", 403, "This address needs a client certificate")
    ENROLMENT_CODE_INVALID = ("enrolment-code-invalid", 403, "The enrolment code is unknown, used or expired")
    NOT_ENTITLED = ("not-entitled", 403, "The member's plan does not include this")
    NOT_IN_REGION = ("not-in-region", 403, "The title is not available in this region")
    DEVICE_UNSUPPORTED = ("device-unsupported", 403, "The device can show no rendition of the title")
    TOO_MANY_STREAMS = ("too-many-streams", 403, "The plan's number of simultaneous streams is reached")
    MEDIA_TOKEN_MISSING = ("media-token-missing", 403, "The media address carries no token")
    MEDIA_TOKEN_INVALID = (
        "media-token-invalid",
        403,
        "The media token is malformed or its signature is wrong",
    )
    MEDIA_TOKEN_EXPIRED = ("media-token-expired", 403, "The media token has expired")
    MEDIA_TOKEN_NOT_YET = ("media-token-not-yet", 403, "The media token is not valid yet")
    MEDIA_TOKEN_SCOPE = ("media-token-scope", 403, "The media token does not cover this address")
    MEDIA_TOKEN_REVOKED = ("media-token-revoked", 403, "The session of this media token was revoked")
    MEDIA_TOKEN_UNENFORCED = (
        "media-token-unenforced",
        403,
        "The media token restricts something that is not enforced here",
    )
    MEDIA_TOKEN_OFFLINE = (
        "media-token-offline",
        403,
        "This appliance has been without its control plane for too long to take this media token",
    )
    STEERING_STATE_INVALID = (
        "steering-state-invalid",
        403,
        "The state of content steering is not of this session or not of this steering",
    )
    KEY_UNKNOWN = ("key-unknown", 403, "The media token names a key that is not known here")
    NOT_FOUND = ("not-found", 404, "There is nothing at this address")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method is not allowed here")
    CONFLICT = ("conflict", 409, "The state of the resource does not allow this")
    STEERING_OVER = ("steering-over", 410, "The session of content steering is over")
    LENGTH_REQUIRED = ("length-required", 411, "The body's length must be announced")
    PRECONDITION_FAILED = ("precondition-failed", 412, "A condition of the request does not hold")
    TOO_LARGE = ("too-large", 413, "The body is larger than this address takes")
    URI_TOO_LONG = ("uri-too-long", 414, "The request's address is too long")
    UNSUPPORTED_TYPE = ("unsupported-type", 415, "The body's media type is not taken here")
    RANGE_NOT_SATISFIABLE = ("range-not-satisfiable", 416, "The range lies outside the representation")
    EXPECTATION_FAILED = ("expectation-failed", 417, "What the request expects of the server is not done here")
    MISDIRECTED = ("misdirected", 421, "This host name is not served here")
    UNPROCESSABLE = ("unprocessable", 422, "The values contradict each other or the state of the record")
    TOO_MANY_REQUESTS = ("too-many-requests", 429, "Too many requests")
    HEADER_TOO_LARGE = ("header-too-large", 431, "The request's header is too large")
    INTERNAL = ("internal", 500, "The service failed; the request id names the log entry")
    UPSTREAM_FAILED = ("upstream-failed", 502, "A service behind this one answered with an error")
    UNAVAILABLE = ("unavailable", 503, "The service cannot answer now")
    UPSTREAM_TIMEOUT = ("upstream-timeout", 504, "A service behind this one did not answer in time")
    NOT_HELD = ("not-held", 504, "Only stored bytes were asked for, and they are not held here")
    LOOP_DETECTED = ("loop-detected", 508, "The request has passed here before")

    def __init__(self, code: str, status: int, title: str) -> None:
        self.code = code
        self.status = status
        self.title = title

    @property
    def type_uri(self) -> str:
        return TYPE_PREFIX + self.code

    @classmethod
    def from_type(cls, type_uri: str) -> ProblemCode | None:
        """The row of a problem's `type`, or None when it is not one of ours."""
        wanted = type_uri.rsplit("/", 1)[-1]
        return next((row for row in cls if row.code == wanted), None)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 §3.1. `errors` is our extension: one line per thing that is wrong, all at once."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""
    errors: tuple[str, ...] = ()

    @classmethod
    def of(cls, code: ProblemCode, detail: str = "", errors: tuple[str, ...] = (), request_id: str = "") -> Problem:
        return cls(code.type_uri, code.title, code.status, detail, errors=errors, request_id=request_id)
