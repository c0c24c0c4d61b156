"""Which renditions a device can show. Pure.

Laws: what a device does not state does not limit it; text is limited by nothing, because players draw it themselves; a title
is not offered without a picture, nor without its sound where it has any.
"""

from __future__ import annotations

from collections.abc import Sequence

from companions.playback.entitlement import Refusal
from contracts.catalogue import FileKind, Rendition
from contracts.problems import ProblemCode
from contracts.viewing import DeviceLimits

MAX_CODECS = 32
MAX_CODEC_CHARS = 16
SAME_FAMILY = {"avc3": "avc1", "hev1": "hvc1", "dvhe": "dvh1"}
"""Sample entries that differ in where parameter sets stand, which decoders do not mind."""
_KINDS = {FileKind.VIDEO: "picture", FileKind.AUDIO: "sound"}


def device_faults(device: DeviceLimits) -> tuple[str, ...]:
    """What is wrong with what a device states, one line each."""
    faults = []
    if len(device.codecs) > MAX_CODECS:
        faults.append(f"device.codecs: takes at most {MAX_CODECS}, {len(device.codecs)} were given")
    for codec in device.codecs[:MAX_CODECS]:
        if not 0 < len(codec) <= MAX_CODEC_CHARS or not codec.isascii() or not codec.isprintable() or "." in codec:
            faults.append(f"device.codecs: {codec[:40]!r} is no family of codecs such as avc1")
    if device.max_height < 0:
        faults.append("device.max_height: is below 0")
    if not 0 <= device.max_frame_rate < float("inf"):
        faults.append("device.max_frame_rate: is no rate")
    return tuple(faults)


def showable(name: str, renditions: Sequence[Rendition], device: DeviceLimits) -> tuple[Rendition, ...] | Refusal:
    """The renditions that a device can show, or why it cannot play the title `name`; `lines` say what each asks for."""
    kept = tuple(rendition for rendition in renditions if not obstacle(rendition, device))
    for kind, word in _KINDS.items():
        wanted = [rendition for rendition in renditions if rendition.kind is kind]
        if wanted and not any(rendition.kind is kind for rendition in kept):
            lines = tuple(f"{one.id}: {obstacle(one, device)}" for one in wanted)
            return Refusal(ProblemCode.DEVICE_UNSUPPORTED, f"this device can show no {word} of {name!r}", lines)
    return kept


def obstacle(rendition: Rendition, device: DeviceLimits) -> str:
    """Why a device cannot show a rendition, in words; empty when it can."""
    if rendition.kind not in _KINDS:
        return ""
    families = [_family(codec) for codec in rendition.codecs.split(",")]
    known = {_family(codec) for codec in device.codecs}
    missing = [family for family in families if known and family not in known]
    if missing:
        return f"is {', '.join(missing)}"
    lines = min(rendition.width, rendition.height)
    if device.max_height and lines > device.max_height:
        return f"has {lines} lines, the device shows {device.max_height}"
    if device.max_frame_rate and rendition.frame_rate > device.max_frame_rate:
        return f"has {rendition.frame_rate:.3g} frames a second, the device shows {device.max_frame_rate:.3g}"
    if not device.hdr and rendition.video_range != "SDR":
        return f"has the range {rendition.video_range}"
    return ""


def _family(codec: str) -> str:
    family = codec.strip().partition(".")[0].lower()
    return SAME_FAMILY.get(family, family)
