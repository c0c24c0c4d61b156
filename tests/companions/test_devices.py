"""What a device can show of what a plan includes, and what it is told when that is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companions.playback.devices import device_faults, showable
from companions.playback.entitlement import Refusal
from contracts.catalogue import FileKind, Rendition
from contracts.problems import ProblemCode
from contracts.viewing import DeviceLimits
from tests.companions.lab import Lab, ladder, make_title, rendition

MORE = (
    *ladder("tide"),
    rendition("tide", "v-1080-hdr", FileKind.VIDEO, "hd", 4_000_000, codecs="hvc1.2.4.L120", width=1920, height=1080,
              frame_rate=50.0, video_range="PQ"),
    rendition("tide", "v-upright", FileKind.VIDEO, "sd", 700_000, codecs="avc3.4d401e", width=360, height=640),
    rendition("tide", "a-en-opus", FileKind.AUDIO, "base", 64_000, codecs="opus", language="en", channels=2),
    rendition("tide", "s-en", FileKind.SUBTITLES, "base", 400, codecs="wvtt", language="en"),
)  # fmt: skip


def left(device: DeviceLimits, renditions: tuple[Rendition, ...] = MORE) -> list[str]:
    kept = showable("Tide", renditions, device)
    assert not isinstance(kept, Refusal), kept
    return [one.id for one in kept]


def test_who_states_nothing_is_shown_everything() -> None:
    assert left(DeviceLimits()) == [one.id for one in MORE]


@pytest.mark.parametrize(
    ("device", "gone"),
    [
        (DeviceLimits(codecs=("avc1", "mp4a")), {"v-1080-hdr", "a-en-opus"}),
        (DeviceLimits(codecs=("AVC1", "hev1", "opus")), {"a-und-96k"}),
        (DeviceLimits(max_height=1080), {"v-2160"}),
        (DeviceLimits(max_height=360), {"v-1080", "v-2160", "v-1080-hdr"}),
        (DeviceLimits(max_frame_rate=30.0), {"v-1080-hdr"}),
        (DeviceLimits(hdr=False), {"v-1080-hdr"}),
    ],
)
def test_what_the_device_cannot_show_is_left_out(device: DeviceLimits, gone: set[str]) -> None:
    assert left(device) == [one.id for one in MORE if one.id not in gone]


@pytest.mark.parametrize(
    ("device", "detail", "line"),
    [
        (DeviceLimits(codecs=("av01", "mp4a")), "this device can show no picture of 'Tide'", "v-360: is avc1"),
        (DeviceLimits(codecs=("avc1", "ac-4")), "this device can show no sound of 'Tide'", "a-und-96k: is mp4a"),
        (DeviceLimits(max_height=144), "this device can show no picture of 'Tide'",
         "v-2160: has 2160 lines, the device shows 144"),
        (DeviceLimits(max_frame_rate=24.0), "this device can show no picture of 'Tide'",
         "v-360: has 30 frames a second, the device shows 24"),
    ],
)  # fmt: skip
def test_a_device_that_can_show_nothing_is_told_what_each_rendition_asks_for(
    device: DeviceLimits, detail: str, line: str
) -> None:
    refused = showable("Tide", ladder("tide"), device)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.detail) == (ProblemCode.DEVICE_UNSUPPORTED, detail)
    assert line in refused.lines


def test_a_silent_title_needs_no_sound() -> None:
    silent = tuple(one for one in MORE if one.kind is not FileKind.AUDIO)
    assert left(DeviceLimits(codecs=("avc1",)), silent) == ["v-360", "v-1080", "v-2160", "v-upright", "s-en"]


_LIMITS = st.builds(
    DeviceLimits,
    st.lists(st.sampled_from(["avc1", "hvc1", "mp4a", "opus", "av01"])).map(tuple),
    st.sampled_from([0, 240, 480, 1080]),
    st.sampled_from([0.0, 25.0, 30.0]),
    st.booleans(),
)


@given(_LIMITS)
def test_whatever_the_limits_nothing_is_added_and_text_stays(device: DeviceLimits) -> None:
    kept = showable("Tide", MORE, device)
    if not isinstance(kept, Refusal):
        assert set(kept) <= set(MORE)
        assert "s-en" in {one.id for one in kept}
        assert {one.kind for one in kept} == {FileKind.VIDEO, FileKind.AUDIO, FileKind.SUBTITLES}


def test_limits_that_make_no_sense_are_all_named() -> None:
    wrong = DeviceLimits(("avc1.4d", "", "x" * 20, "mp4a"), max_height=-1, max_frame_rate=float("inf"))
    assert [fault.partition(":")[0] for fault in device_faults(wrong)] == [
        "device.codecs",
        "device.codecs",
        "device.codecs",
        "device.max_height",
        "device.max_frame_rate",
    ]
    assert device_faults(DeviceLimits(tuple(f"c{n}" for n in range(40)))) == (
        "device.codecs: takes at most 32, 40 were given",
    )
    assert device_faults(DeviceLimits(("avc1",), 1080, 60.0)) == ()


async def test_a_device_gets_manifests_of_what_it_can_show_and_a_refusal_in_words(lab: Lab) -> None:
    await lab.start("auth", "catalog", "steering", "playback")
    await lab.publish(make_title("tide", renditions=MORE))
    ann = await lab.sign_up()
    play = await ann.play("tide", device=DeviceLimits(codecs=("avc1", "mp4a"), max_height=400))
    for url in (play.dash_url, play.hls_url):
        text = (await lab.http.call("GET", url)).body.decode()
        assert "v-360" in text
        assert "s-en" in text
        assert "1080" not in text
    refused = (await ann.press_play("tide", device=DeviceLimits(max_height=100))).problem(
        ProblemCode.DEVICE_UNSUPPORTED
    )
    assert refused.errors[0] == "v-360: has 360 lines, the device shows 100"
    wrong = (await ann.press_play("tide", device=DeviceLimits(max_height=-1))).problem(ProblemCode.UNPROCESSABLE)
    assert wrong.errors == ("device.max_height: is below 0",)
