"""From an appliance's configuration to the settings of its store."""

from __future__ import annotations

from oca.config import Appliance, Disk
from oca.link.roster import Roster, RosterDisk, Use
from oca.store.disks import DiskSettings, StoreSettings
from oca.store.placement import DiskClass


def store_settings(appliance: Appliance, roster: Roster | None = None) -> StoreSettings:
    """What `oca.store` opens its disks with: those of the roster, without one those of the configuration. Pure."""
    store = appliance.store
    disks = roster.disks if roster is not None else tuple(_as_listed(disk) for disk in store.disks)
    return StoreSettings(
        disks=tuple(_disk(disk) for disk in disks),
        extent_bytes=store.extent_bytes,
        index_map_bytes=store.index_map_bytes,
        cache_share=store.cache_share,
        policy=store.policy,
        admission=store.admission.rule,
        admission_max_share=store.admission.max_share,
        admission_remembered=store.admission.remembered,
        admission_requests=store.admission.requests,
        admission_usual_bytes=store.admission.usual_bytes,
        passing_share=store.admission.passing_share,
        short_life_s=store.admission.short_life_s,
        batch_blocks=store.batch_blocks,
        high_mark=store.high_mark,
        low_mark=store.low_mark,
    )


def _as_listed(disk: Disk) -> RosterDisk:
    return RosterDisk(disk.path, disk.quota_bytes, disk.weight, disk.storage_class)


def _disk(disk: RosterDisk) -> DiskSettings:
    return DiskSettings(
        disk.path,
        disk.quota_bytes,
        disk.weight,
        disk.use is Use.DRAINING,
        DiskClass(disk.storage_class),
        disk.use is Use.REMOVED,
        disk.life,
        disk.uuid,
    )
