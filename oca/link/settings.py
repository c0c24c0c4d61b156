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
