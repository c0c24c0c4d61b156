"""Settings of an appliance: checked by the supervisor (and `lowtide oca`), handed to workers and keeper as JSON.

Plain frozen dataclasses: `chassis.config` checks them with all problems at once, msgspec decodes them in the children. A module a room; what
others import stands here.
"""

from __future__ import annotations

from oca.config.appliance import AccessLogging, Appliance, ControlPlane
from oca.config.fetching import Fetching, PullService
from oca.config.routes import BgpSession, Routes
from oca.config.serving import Capacity, Certificate, Listen, Listener, Pacing, PlayerTls, PublicNames, Serving
from oca.config.storing import Admission, Disk, Store

__all__ = [
    "AccessLogging",
    "Admission",
    "Appliance",
    "BgpSession",
    "Capacity",
    "Certificate",
    "ControlPlane",
    "Disk",
    "Fetching",
    "Listen",
    "Listener",
    "Pacing",
    "PlayerTls",
    "PublicNames",
    "PullService",
    "Routes",
    "Serving",
    "Store",
]
