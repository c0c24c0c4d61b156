"""`lowtide control-plane purge …` and `… triggers`: content goes from every appliance, and who has heard of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import typer

from chassis.client import ServiceClient
from contracts.triggers import (
    TriggerList,
    TriggerRequest,
    TriggerState,
    TriggerStatus,
    TriggerType,
)

LOOK_S = 0.2


def words(status: TriggerStatus) -> str:
    trigger = status.trigger
    heard = sum(ack.at is not None for ack in status.acknowledgements)
    waiting = f"; waiting for {', '.join(status.waiting)}" if status.waiting else ""
    what = f"{trigger.type.value} {trigger.selection.value} {trigger.text}".rstrip()
    return f"trigger {trigger.number}: {what}: {status.state.value}, {heard} of {len(status.acknowledgements)} appliances{waiting}"


def make(ask: Callable[..., TriggerStatus], wanted: TriggerRequest, wait_s: float) -> bool:
    """Makes it, waits until every appliance has it, at most so long, and says how far it came. True when it is complete."""
    status = ask(lambda client: client.post("/v1/triggers", wanted, TriggerStatus))
    path = f"/v1/triggers/{quote(str(status.trigger.number))}"
    until_s = time.monotonic() + wait_s
    while status.state is not TriggerState.COMPLETE and time.monotonic() < until_s:
        time.sleep(LOOK_S)
        status = ask(lambda client: client.get(path, TriggerStatus))
    typer.echo(words(status))
    return status.state is TriggerState.COMPLETE


async def listed(client: ServiceClient, limit: int) -> TriggerList:
    return await client.get("/v1/triggers", TriggerList, query={"limit": limit})


Key = Annotated[str, typer.Argument(metavar="[KEY]", help="/media/TITLE/TIER/FILE, or a key SERVICE|/path.")]
Prefix = Annotated[str, typer.Option("--prefix", help="All keys that begin so: /media/TITLE/, or SERVICE|/path.")]
Tag = Annotated[str, typer.Option("--tag", help="title:ID, tier:NAME, group:TITLE/STEM, or what an origin said.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything.")]
Soft = Annotated[
    bool, typer.Option("--soft", help="Do not delete: ask whether it is current before it is served again.")
]
Wait = Annotated[float, typer.Option("--wait-s", help="How long to wait until every appliance has applied it.")]
TypeOf = {False: TriggerType.PURGE, True: TriggerType.INVALIDATE}
