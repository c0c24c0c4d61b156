"""What the records of auth refuse; the API turns each into a problem."""

from __future__ import annotations


class AuthError(Exception):
    """Base."""


class EmailTaken(AuthError):
    """There is an account with this address."""


class TooManyProfiles(AuthError):
    """The account has as many profiles as it may have."""


class LastProfile(AuthError):
    """An account keeps at least one profile."""


class UnknownProfile(AuthError):
    """The account has no such profile."""


class UnknownAccount(AuthError):
    """The account is gone."""
