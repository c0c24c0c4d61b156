"""BIRD's configuration and answers, as text that BIRD 2.0.12 wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.routes import Route
from oca.config import BgpSession, Routes
from oca.routes import bird
from oca.routes.table import RoutesUnreadable

PROTOCOLS = """\
2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     16:56:56.919  
1006-
1002-r1         BGP        ---        up     16:56:57.741  Established   
1006-  BGP state:          Established
     Neighbor address: 127.0.0.2
     Neighbor AS:      64500
     Local AS:         64600
   Channel ipv4
     State:          UP
     Routes:         2 imported, 0 exported, 2 preferred
       Import updates:              2          0          0          0          2
       Import withdraws:            0          0        ---          0          0
       Export updates:              2          2          0        ---          0
1002-r2         BGP        ---        start  16:57:01.100  Active        Socket: Connection refused
1006-  BGP state:          Active
     Neighbor address: 2001:db8::9
     Neighbor AS:      64501
     Last error:       Socket: Connection refused
0000 
"""
TABLE = """\
1007-Table master4:
 81.2.0.0/16          unreachable [r1 16:57:00.742 from 127.0.0.2] * (100) [AS64500i]
1008-@Type: BGP univ
1012-@BGP.origin: IGP
 @BGP.as_path: 64500
 @BGP.next_hop: 127.0.0.2
 @BGP.local_pref: 100
1007-81.3.0.0/16          unicast [r1 16:57:00.742 from 127.0.0.2] * (100) [AS64999i]
 @via 192.0.2.1 on eth0
1008-@Type: BGP univ
1012-@BGP.origin: IGP
 @BGP.as_path: 64500 {64998 64999}
 @BGP.next_hop: 127.0.0.2 127.0.0.9
 @BGP.med: 7
1007-                     unicast [r2 16:57:00.742] (100) [AS1i]
1012-@BGP.as_path: 1
1007-Table master6:
 2a01:100::/32        unreachable [r1 16:57:00.742] * (100) [AS64500i]
1012-@BGP.as_path: (65001) 64500
 @BGP.next_hop: 2001:db8::1 fe80::1
0000 
""".replace("@", "\t")


def test_sessions_are_read_with_whom_they_are_held_and_why_they_are_down() -> None:
    up, down = bird.protocols_of(bird.lines_of(PROTOCOLS))
    assert (up.name, up.up, up.peer, up.peer_as) == ("r1", True, "127.0.0.2", 64500)
    assert (down.name, down.up, down.info, down.peer_as) == ("r2", False, "Socket: Connection refused", 64501)


def test_a_sessions_counts_move_when_its_table_does_and_not_when_time_passes() -> None:
    (before, _), (later, _) = (
        tuple(bird.protocols_of(bird.lines_of(text))) for text in (PROTOCOLS, PROTOCOLS.replace("16:56:57.741", "1"))
    )
    assert before.counts == later.counts
    (moved, _) = bird.protocols_of(
        bird.lines_of(PROTOCOLS.replace("withdraws:            0", "withdraws:            1"))
    )
    assert moved.counts != before.counts


def test_routes_are_read_with_path_med_and_next_hop_and_of_two_the_best() -> None:
    assert bird.routes_of(bird.lines_of(TABLE)) == {
        "81.2.0.0/16": Route("81.2.0.0/16", (64500,), 0, "127.0.0.2"),
        "81.3.0.0/16": Route("81.3.0.0/16", (64500, 0), 7, "127.0.0.2"),
        "2a01:100::/32": Route("2a01:100::/32", (64500,), 0, "2001:db8::1"),
    }


def test_an_error_of_birds_is_said_in_its_words() -> None:
    with pytest.raises(RoutesUnreadable, match="syntax error"):
        list(bird.lines_of("9001 syntax error, unexpected CF_SYM_UNDEFINED\n"))
    with pytest.raises(RoutesUnreadable, match="no answer"):
        list(bird.lines_of("HTTP/1.1 400 Bad Request\n"))


def test_a_routers_words_with_separators_of_unicode_end_no_line() -> None:
    words = "Received: bye\u2028 0000 \u0085now"
    shown = PROTOCOLS.replace("Socket: Connection refused\n0000", f"{words}\n0000")
    _, down = bird.protocols_of(bird.lines_of(shown))
    assert down.info == words
    assert list(bird.lines_of("")) == []


def test_an_answer_is_whole_only_with_its_last_line() -> None:
    assert bird.is_whole(TABLE)
    assert [end for end in range(1, len(TABLE)) if bird.is_whole(TABLE[:-end])] == []


def test_news_between_lines_are_passed_over() -> None:
    assert [line.text for line in bird.lines_of("1002-a\n+news\n1002-b\n0000 \n")] == ["a", "b"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0127 -\t\n:abAS./{}()", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        lines = list(bird.lines_of(text))
    except RoutesUnreadable:
        return
    assert all("/" in cidr for cidr in bird.routes_of(lines))
    assert all(one.name for one in bird.protocols_of(lines))


SETTINGS = Routes(
    "bird", 64600, "", (BgpSession("r1", "192.0.2.1", 64500, "192.0.2.2", password="s3cret", maximum=7), BgpSession("r2", "2001:db8::1", 1, "2001:db8::2", 3)),
)  # fmt: skip


def test_the_configuration_holds_every_session_and_announces_nothing() -> None:
    text = bird.configuration(SETTINGS)
    assert "router id 192.0.2.2;" in text
    assert text.count("export none") == 4
    assert "export all" not in text
    for part in (
        "protocol bgp r1 {", "local 192.0.2.2 as 64600;", "neighbor 192.0.2.1 as 64500;", 'password "s3cret";',
        "import limit 7 action block", "  direct;", "protocol bgp r2 {", "  multihop 3;",
    ):  # fmt: skip
        assert part in text, part
    assert "protocol kernel" not in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "R1"}, {"name": 'r"; include "/etc/passwd'}, {"peer": "router"}, {"local": "2001:db8::1"},
        {"password": 'x"; #'}, {"password": "a\nb"},
        {"peer": "fe80::1%eth0;}", "local": "fe80::2%eth0"},
    ],
)  # fmt: skip
def test_settings_that_would_say_something_else_to_the_daemon_are_refused(wrong: dict[str, str]) -> None:
    values = {"name": "r1", "peer": "192.0.2.1", "local": "192.0.2.2", **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BgpSession(values["name"], values["peer"], 64500, values["local"], password=values.get("password", ""))


def test_a_daemon_needs_sessions_and_a_number_of_its_own() -> None:
    with pytest.raises(ValueError, match="both are needed"):
        Routes("bird", 64600)
    with pytest.raises(ValueError, match="given twice"):
        Routes("bird", 64600, "", (SETTINGS.sessions[0], SETTINGS.sessions[0]))
