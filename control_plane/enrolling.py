"""Codes are made and traded for certificates, once each."""

from __future__ import annotations

import secrets

from chassis.errors import CertificateError, ProblemError
from chassis.logs import get_logger
from contracts.enrolment import CaAnswer, CodeAnswer, CodeRequest, EnrolAnswer, EnrolRequest, PeerKind
from contracts.problems import ProblemCode
from contracts.urls import is_name
from control_plane import enrolment
from control_plane.archive import access as access_archive
from control_plane.archive import places as place_archive
from control_plane.authority import Authority, Issued
from control_plane.desk import Desk
from control_plane.enrolment import Code
from control_plane.errors import conflict, contradiction, unknown
from control_plane.lifecycle import MAY_CALL, LifeEvent, after


class Enrolling:
    """The gate for newcomers."""

    def __init__(self, desk: Desk, authority: Authority, valid_days: float) -> None:
        self._desk = desk
        self._authority = authority
        self._valid_days = valid_days

    def ca(self) -> CaAnswer:
        return CaAnswer(self._authority.ca_pem)

    async def make_code(self, wanted: CodeRequest, operator: str) -> CodeAnswer:
        """Raises ProblemError: NOT_FOUND or CONFLICT for an appliance that cannot enrol, UNPROCESSABLE for wrong values."""
        wrong = _wrong(wanted)
        if wrong:
            raise contradiction(wrong)
        if wanted.kind is PeerKind.APPLIANCE:
            self._check_box(wanted.name)
        now = self._desk.clock.wall_s()
        secret = enrolment.secret_of(secrets.token_bytes(enrolment.SECRET_BYTES))
        code = Code(enrolment.hash_of(secret), wanted.kind, wanted.name, now + wanted.valid_s)
        async with self._desk.alone(), self._desk.archive() as session:
            await access_archive.add_code(session, code)
            await access_archive.note(session, now, operator, "make-code", f"{wanted.kind.value}/{wanted.name}")
        return CodeAnswer(f"{secret}.{self._authority.ca_fingerprint}", code.expires_at)

    async def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """Raises ProblemError: ENROLMENT_CODE_INVALID, UNPROCESSABLE (addresses), BAD_REQUEST (the signing request)."""
        wrong = enrolment.wrong_addresses(request.addresses)
        if wrong:
            raise contradiction(wrong)
        desk, now = self._desk, self._desk.clock.wall_s()
        async with desk.alone():
            async with desk.archive() as session:
                code = self._usable(await access_archive.code(session, enrolment.hash_of(request.secret)), now)
                issued = self._issued(request, code, now)
                await access_archive.use_code(session, code.hash, now)
                await access_archive.add_certificate(
                    session, code.kind, code.name, issued.serial, now, issued.expires_at
                )
                if code.kind is PeerKind.APPLIANCE:
                    box = self._desk.registry.boxes[code.name]
                    state = after(box.state, LifeEvent.ENROLLED) or box.state
                    await place_archive.set_state(session, box.id, state)
            if code.kind is PeerKind.APPLIANCE:
                box.serial = issued.serial
                desk.tell(desk.registry.set_state(box, state))
        desk.metrics.enrolments.labels(code.kind.value).inc()
        get_logger("control_plane.enrolment").info(
            "enrolled", kind=code.kind.value, name=code.name, serial=issued.serial
        )
        return EnrolAnswer(code.kind, code.name, issued.pem, self._authority.ca_pem)

    def _usable(self, code: Code | None, now: float) -> Code:
        refusal = enrolment.refusal(code, now)
        if refusal is not None or code is None:
            why = refusal or enrolment.CodeRefusal.UNKNOWN
            self._desk.metrics.refused_codes.labels(why.value).inc()
            get_logger("control_plane.enrolment").warning("code-refused", reason=why.value)
            raise ProblemError(
                ProblemCode.ENROLMENT_CODE_INVALID,
                "this enrolment code was never made, was used already or has expired; ask the operator for a new one",
            )
        if code.kind is PeerKind.APPLIANCE:
            self._check_box(code.name)
        return code

    def _check_box(self, name: str) -> None:
        box = self._desk.registry.boxes.get(name)
        if box is None:
            raise unknown("appliance", name)
        if box.state not in MAY_CALL:
            raise conflict(f"appliance {name} is {box.state.value}")

    def _issued(self, request: EnrolRequest, code: Code, now: float) -> Issued:
        try:
            return self._authority.issue(
                request.csr_pem, code.kind, code.name, request.addresses, now, self._valid_days
            )
        except CertificateError as error:
            raise ProblemError(ProblemCode.BAD_REQUEST, str(error)) from error


def _wrong(wanted: CodeRequest) -> tuple[str, ...]:
    wrong: list[str] = []
    if not is_name(wanted.name):
        wrong.append(f"name: {wanted.name!r} is not lower-case letters, digits, dots, underscores and hyphens")
    if not 0 < wanted.valid_s <= enrolment.MAX_VALID_S:
        wrong.append(f"valid_s: must be above 0 and at most {enrolment.MAX_VALID_S:g}")
    return tuple(wrong)
