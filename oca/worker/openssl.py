"""What the TLS library can do and Python's `ssl` has no word for: ticket keys, the session cache, letting go of buffers.

Python keeps the library's `SSL_CTX *` as the first field of `ssl.SSLContext`, and does not promise it. A wrong address would end the
process, so the door is tried in a process of its own first (`python -m oca.worker.openssl`, once per start of the appliance); where that
does not say yes, nobody here touches it, and the status shows why. The functions are those of the very library that `_ssl` was linked to.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import sys
from typing import Any

from oca.link.tickets import KEY_BYTES

_GET_TICKET_KEYS, _SET_TICKET_KEYS = 58, 59
_MODE, _MODE_RELEASE_BUFFERS = 33, 0x10
_SET_CACHE_MODE, _GET_CACHE_MODE = 44, 45


class NoDoor(Exception):
    """The library cannot be reached; the message says why."""


class Door:
    """The functions, found. Raises NoDoor where the library does not export them (it is linked into Python)."""

    def __init__(self) -> None:
        import _ssl

        try:
            # Names are looked up in the module and in what it was linked to: no other copy of the library can be found.
            library = ctypes.CDLL(getattr(_ssl, "__file__", None))
            self._ctrl: Any = library.SSL_CTX_ctrl
            self._options: Any = library.SSL_CTX_get_options
        except (OSError, AttributeError) as error:
            raise NoDoor(f"OpenSSL is not linked dynamically: {error}") from error
        self._ctrl.restype = ctypes.c_long
        self._ctrl.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
        self._options.restype = ctypes.c_uint64
        self._options.argtypes = (ctypes.c_void_p,)

    def options(self, context: ssl.SSLContext) -> int:
        """As `context.options`, by the library."""
        return int(self._options(_address(context)))

    def set_ticket_keys(self, context: ssl.SSLContext, keys: bytes) -> None:
        """Sessions sealed with these keys resume in every context that has them. Raises NoDoor when the library refuses."""
        if len(keys) != KEY_BYTES or self._ctrl(_address(context), _SET_TICKET_KEYS, len(keys), keys) != 1:
            raise NoDoor("OpenSSL does not take the ticket keys")

    def ticket_keys(self, context: ssl.SSLContext) -> bytes:
        """Raises NoDoor when the library tells none, or of another length."""
        if self._ctrl(_address(context), _GET_TICKET_KEYS, 0, None) != KEY_BYTES:
            raise NoDoor(f"OpenSSL's ticket keys are not of {KEY_BYTES} bytes")
        keys = ctypes.create_string_buffer(KEY_BYTES)
        if self._ctrl(_address(context), _GET_TICKET_KEYS, KEY_BYTES, keys) != 1:
            raise NoDoor("OpenSSL does not tell the ticket keys")
        return keys.raw

    def save_memory(self, context: ssl.SSLContext) -> None:
        """Idle connections keep no record buffers (34 KiB each); sessions live in tickets, not in a cache of this process."""
        self._ctrl(_address(context), _MODE, _MODE_RELEASE_BUFFERS, None)
        self._ctrl(_address(context), _SET_CACHE_MODE, 0, None)

    def saves_memory(self, context: ssl.SSLContext) -> bool:
        address = _address(context)
        return bool(self._ctrl(address, _MODE, 0, None) & _MODE_RELEASE_BUFFERS) and not self._ctrl(
            address, _GET_CACHE_MODE, 0, None
        )


def _address(context: ssl.SSLContext) -> int:
    return int(ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value or 0)


def prove() -> None:
    """Do everything once, to contexts that nobody uses. Raises NoDoor, or ends the process."""
    if sys.implementation.name != "cpython":
        raise NoDoor(f"{sys.implementation.name} keeps the library's context elsewhere")
    door = Door()
    one, other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    one.options |= ssl.OP_NO_RENEGOTIATION
    if door.options(one) != one.options or door.options(other) != other.options:
        raise NoDoor("Python keeps the library's context elsewhere")
    before, keys = door.ticket_keys(other), os.urandom(KEY_BYTES)
    door.set_ticket_keys(one, keys)
    if door.ticket_keys(one) != keys or door.ticket_keys(other) != before:
        raise NoDoor("the ticket keys set are not those told")
    door.save_memory(one)
    if not door.saves_memory(one):
        raise NoDoor("OpenSSL does not keep the modes set")


if __name__ == "__main__":
    try:
        prove()
    except NoDoor as error:
        sys.stdout.write(f"{error}\n")
        raise SystemExit(1) from None
