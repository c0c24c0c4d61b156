"""What an account and a profile may say. Pure.

An e-mail address is one account whatever its case or Unicode spelling: NFKC, then case-folded. Whether it exists is not
checked here: that takes a letter.
"""

from __future__ import annotations

import re
import unicodedata

from chassis.clients import is_address
from contracts.members import MemberPlan, ProfileChange, ProfileSettings, SignUp

MAX_PROFILES = 5
PASSWORD_CHARS = (10, 256)
NAME_CHARS = 40
MATURITIES = ("all", "6", "12", "16", "18")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
_REGION = re.compile(r"[A-Z]{2}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def normalised_email(text: str) -> str:
    """The one spelling under which an address is stored and found."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def is_email(text: str) -> bool:
    """True when a normalised address has a shape that could receive letters."""
    return _EMAIL.fullmatch(text) is not None


def sign_up_faults(request: SignUp) -> tuple[str, ...]:
    """Everything that is wrong with it, one line each; empty when an account can be made."""
    faults = []
    if not is_email(normalised_email(request.email)):
        faults.append("email: is not an e-mail address (name@domain)")
    least, most = PASSWORD_CHARS
    if not least <= len(request.password) <= most:
        faults.append(f"password: has {len(request.password)} characters; {least} to {most} are taken")
    if _REGION.fullmatch(request.region) is None:
        faults.append(f"region: {request.region[:20]!r} is not an ISO 3166 code such as DE")
    if MemberPlan.named(request.plan) is None:
        known = ", ".join(plan.word for plan in MemberPlan)
        faults.append(f"plan: {request.plan[:20]!r} is not one of {known}")
    return (*faults, *_name_faults("profile_name", request.profile_name))


def profile_faults(change: ProfileChange) -> tuple[str, ...]:
    """Everything that is wrong with a profile, one line each."""
    return (*_name_faults("name", change.name), *_settings_faults(change.settings))


def _settings_faults(settings: ProfileSettings) -> list[str]:
    faults = []
    if _LANGUAGE.fullmatch(settings.language) is None:
        faults.append(f"settings.language: {settings.language[:20]!r} is not a language tag such as en")
    if settings.maturity not in MATURITIES:
        faults.append(f"settings.maturity: {settings.maturity[:20]!r} is not one of {', '.join(MATURITIES)}")
    if settings.demo_network and not is_address(settings.demo_network):
        faults.append(f"settings.demo_network: {settings.demo_network[:60]!r} is not an IP address")
    return faults


def _name_faults(field: str, name: str) -> list[str]:
    if not name.strip():
        return [f"{field}: is empty"]
    if len(name) > NAME_CHARS or not name.isprintable():
        return [f"{field}: takes up to {NAME_CHARS} printable characters"]
    return []
