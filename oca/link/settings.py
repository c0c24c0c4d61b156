"""From an appliance's configuration to the settings of its store."""

from __future__ import annotations

from oca.config import Appliance
from oca.store.disks import DiskSettings, StoreSettings


def store_settings(appliance: Appliance) -> StoreSettings:
    """What `oca.store` opens its disks with. Pure."""
    store = appliance.store
    return StoreSettings(
        disks=tuple(DiskSettings(disk.path, disk.quota_bytes, disk.weight) for disk in store.disks),
        extent_bytes=store.extent_bytes,
        index_map_bytes=store.index_map_bytes,
        cache_share=store.cache_share,
        policy=store.policy,
        high_mark=store.high_mark,
        low_mark=store.low_mark,
    )
