"""Keys of pull-through services: what is part of them goes upstream, and nothing else does."""

from __future__ import annotations

import pytest

from oca.http.keys import read_resource, service_key, storage_key
from oca.http.request import RequestRefused


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b", "/a/b"),
        (b"/a?x=1&y=2", "/a?x=1&y=2"),
        (b"/a?y=2&x=1", "/a?y=2&x=1"),
        (b"/a?CMCD=br%3D1", "/a"),
        (b"/a?x=1&CMCD=br%3D1&y=2", "/a?x=1&y=2"),
        (b"/a?", "/a?"),
        (b"/%7Euser/%2f", "/~user/%2F"),
        (b"http://cdn.example/a?x", "/a?x"),
        (b"http://cdn.example?x", "/?x"),
        (b"http://cdn.example", "/"),
        (b"//other/a", "//other/a"),
    ],
)
def test_a_target_has_one_path_with_what_is_kept_of_its_query(target: bytes, path: str) -> None:
    found = read_resource("web", target, None)
    assert found.path == path
    assert found.key == f"web|{path}"


def test_only_parameters_of_the_list_stay() -> None:
    assert read_resource("web", b"/a?x=1&z=3&y=2&xx=4", frozenset(("x", "y"))).path == "/a?x=1&y=2"
    assert read_resource("web", b"/a?z=3", frozenset(("x",))).path == "/a"


@pytest.mark.parametrize("target", [b"/../a", b"/a/%2e%2E/b", b"/a/.", b"*", b"a", b"/a#b", b"/%zz", b"ftp://a/b"])
def test_what_is_no_address_or_leads_out_of_the_base_path_is_refused(target: bytes) -> None:
    with pytest.raises(RequestRefused):
        read_resource("web", target, None)


def test_a_storage_key_leads_back_to_its_service_key() -> None:
    key = read_resource("web", b"/a|b?c|d", None).key
    stored = storage_key(key, bytes(32))
    assert stored.startswith(key)
    assert service_key(stored) == key
    assert service_key("vod|/media/t/hd/v.mp4") == "vod|/media/t/hd/v.mp4"
