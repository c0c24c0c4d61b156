"""The catalog by its HTTP API."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companions.catalog.paging import BadPage, Place, page_name, parse_page
from companions.catalog.words import fold, query_words, words_of
from contracts.catalogue import Licence, TitleDetails, TitleDigests, TitleList
from contracts.problems import ProblemCode
from tests.companions.lab import Lab, make_title


@pytest.fixture
async def catalog(lab: Lab) -> Lab:
    await lab.start("catalog")
    return lab


async def _list(lab: Lab, query: str) -> TitleList:
    return (await lab.http.call("GET", f"{lab.url('catalog')}/v1/titles?{query}")).as_(TitleList)


async def _found(lab: Lab, text: str, region: str = "DE") -> list[str]:
    heard = await lab.http.call("GET", f"{lab.url('catalog')}/v1/search?region={region}&q={quote(text)}")
    return [title.id for title in heard.as_(TitleList).titles]


async def test_a_published_title_is_told_without_its_block_digests(catalog: Lab) -> None:
    title = make_title("tide", "The Tide", genres=("Drama",), cast=("Ida Berg",))
    await catalog.publish(title)
    heard = await catalog.http.call("GET", catalog.url("catalog") + "/v1/titles/tide?region=DE")
    details = heard.as_(TitleDetails)
    assert (details.facts, details.renditions) == (title.facts, title.renditions)
    assert [file.blake3 for file in details.files] == [file.digests.blake3 for file in title.files]
    assert b"blocks" not in heard.body


async def test_block_digests_have_an_address_of_their_own(catalog: Lab) -> None:
    title = make_title("tide")
    await catalog.publish(title)
    heard = await catalog.http.call("GET", catalog.url("catalog") + "/v1/titles/tide/digests")
    assert heard.as_(TitleDigests).files == tuple(file.digests for file in title.files)
    unknown = await catalog.http.call("GET", catalog.url("catalog") + "/v1/titles/ebb/digests")
    assert unknown.status == 404


async def test_only_who_holds_the_secret_publishes(catalog: Lab) -> None:
    url = catalog.url("catalog") + "/v1/titles/tide"
    (await catalog.http.call("PUT", url, make_title())).problem(ProblemCode.UNAUTHENTICATED)
    (await catalog.http.call("PUT", url, make_title(), bearer="guess")).problem(ProblemCode.UNAUTHENTICATED)
    (await catalog.http.call("DELETE", url, bearer="guess")).problem(ProblemCode.UNAUTHENTICATED)
    assert (await _list(catalog, "region=DE")).titles == ()


async def test_everything_wrong_with_a_title_is_said_at_once(catalog: Lab) -> None:
    secret = (catalog.folder / "publisher.secret").read_text().strip()
    wrong = make_title("other", " ", renditions=make_title("tide").renditions[:1])
    heard = await catalog.http.call("PUT", catalog.url("catalog") + "/v1/titles/mine", wrong, bearer=secret)
    errors = heard.problem(ProblemCode.UNPROCESSABLE).errors
    assert [line.partition(":")[0] for line in errors] == [
        "facts.id",
        "facts.name",
        "renditions.v-360.path",
        "renditions.v-360.playlist_path",
    ]


async def test_publishing_again_replaces_the_title_and_its_words(catalog: Lab) -> None:
    await catalog.publish(make_title("tide", "Ebb"), make_title("tide", "Flood"))
    assert await _found(catalog, "ebb") == []
    assert await _found(catalog, "flood") == ["tide"]
    assert len((await _list(catalog, "region=DE")).titles) == 1


async def test_a_withdrawn_title_is_gone(catalog: Lab) -> None:
    await catalog.publish(make_title("tide"))
    secret = (catalog.folder / "publisher.secret").read_text().strip()
    url = catalog.url("catalog") + "/v1/titles/tide"
    assert (await catalog.http.call("DELETE", url, bearer=secret)).status == 204
    (await catalog.http.call("DELETE", url, bearer=secret)).problem(ProblemCode.NOT_FOUND)
    (await catalog.http.call("GET", url + "?region=DE")).problem(ProblemCode.NOT_FOUND)
    assert await _found(catalog, "tide") == []


async def test_a_title_outside_its_licence_is_refused_by_id_and_absent_from_lists_and_search(catalog: Lab) -> None:
    now = catalog.clock.wall_s()
    await catalog.publish(
        make_title("here", "Sea here", regions=("DE", "NO")),
        make_title("elsewhere", "Sea elsewhere", regions=("FR",)),
        make_title("later", "Sea later", licence=Licence(starts_at=now + 60)),
        make_title("over", "Sea over", licence=Licence(ends_at=now)),
    )
    assert [title.id for title in (await _list(catalog, "region=DE")).titles] == ["here"]
    assert await _found(catalog, "sea") == ["here"]
    for title_id in ("elsewhere", "later", "over"):
        heard = await catalog.http.call("GET", f"{catalog.url('catalog')}/v1/titles/{title_id}?region=DE")
        heard.problem(ProblemCode.NOT_IN_REGION)
    await catalog.clock.advance(61)
    assert sorted(await _found(catalog, "sea")) == ["here", "later"]


async def test_pages_show_every_title_once_newest_first_even_while_titles_arrive(catalog: Lab) -> None:
    await catalog.publish(*(make_title(f"t{n}", published_at=1000.0 + n // 2) for n in range(8)))
    page = await _list(catalog, "region=DE")
    seen = [title.id for title in page.titles]
    await catalog.publish(make_title("newer", published_at=5000.0))
    while page.next_page:
        page = await _list(catalog, f"region=DE&page={page.next_page}")
        assert 1 <= len(page.titles) <= 3
        seen += [title.id for title in page.titles]
    assert seen == ["t6", "t7", "t4", "t5", "t2", "t3", "t0", "t1"]


async def test_lists_are_filtered_by_genre_whatever_its_spelling(catalog: Lab) -> None:
    await catalog.publish(make_title("a", genres=("Comédie", "Drama")), make_title("b", genres=("Drama",)))
    assert [title.id for title in (await _list(catalog, "region=DE&genre=comedie")).titles] == ["a"]
    assert (await _list(catalog, "region=DE&genre=western")).titles == ()


async def test_search_finds_the_beginnings_of_all_words_and_ranks_names_before_texts(catalog: Lab) -> None:
    await catalog.publish(
        make_title("name", "Straße der Gezeiten", published_at=1.0),
        make_title("text", "Nachts", synopsis="Eine Strasse am Meer", published_at=2.0),
        make_title("cast", "Morgens", cast=("Zoë Strassmann",), published_at=3.0),
    )
    assert await _found(catalog, "STRASSE") == ["name", "text"]
    assert await _found(catalog, "stras") == ["name", "cast", "text"]
    assert await _found(catalog, "zoe strass") == ["cast"]
    assert await _found(catalog, "strasse morgens") == []
    assert await _found(catalog, "?! %") == []


async def test_wrong_questions_are_answered_with_what_is_wrong(catalog: Lab) -> None:
    base = catalog.url("catalog")
    for query in ("", "?region=de", "?region=DEU", "?region=DE&page=nonsense", "?region=DE&region=FR"):
        (await catalog.http.call("GET", f"{base}/v1/titles{query}")).problem(ProblemCode.BAD_QUERY)
    (await catalog.http.call("GET", f"{base}/v1/search?region=DE")).problem(ProblemCode.BAD_QUERY)
    (await catalog.http.call("GET", f"{base}/v1/titles/none?region=DE")).problem(ProblemCode.NOT_FOUND)


async def test_titles_survive_a_restart(catalog: Lab) -> None:
    await catalog.publish(make_title("tide"))
    await catalog.stop("catalog")
    await catalog.start("catalog")
    assert await _found(catalog, "tide") == ["tide"]


async def test_a_secret_that_others_can_read_is_not_used(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "publisher.secret").write_text("open secret")
    (tmp_path / "publisher.secret").chmod(0o644)
    with pytest.raises(Exception, match="chmod 600"):
        await lab.start("catalog")


def test_folding_takes_case_accents_and_ligatures_away() -> None:
    assert fold("Ångström ŒUVRE Straße ﬁlm Ⅷ Đà") == "angstrom oeuvre strasse film viii da"


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_a_query_finds_the_text_it_was_copied_from(text: str) -> None:
    assert set(query_words(text)) <= set(words_of(text))


@given(st.floats(0, 4e9), st.text(max_size=40))
def test_a_page_name_leads_back_to_its_place(published_at: float, title_id: str) -> None:
    assert parse_page(page_name(Place(published_at, title_id))) == Place(published_at, title_id)


@given(st.text(max_size=60))
def test_a_page_name_that_is_none_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        parse_page(text)
    except BadPage:
        return
