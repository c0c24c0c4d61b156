"""Random exchanges for the oracle: seeded, mostly sensible, with every directive, and times next to where a decision turns."""

from __future__ import annotations

from random import Random

from tests.oca.http.caching import oracle
from tests.oca.http.caching.oracle import BAD, Case, Lines
from tests.oca.http.caching.shapes import NOW, http_date

_LIVES = ["0", "1", "10", "60", "600", "86400", '"60"', "99999999999", "-1", "1.5", "x", "", "06", '"6', "60 "]
_NAMES = ["set-cookie", "x-a", "x-a, x-b", "content-type", "", "x a", "Set-Cookie,x-b"]
_FLAGS = ["public", "must-revalidate", "proxy-revalidate", "immutable", "no-transform", "must-understand", "only-x"]
_STATUSES = [200] * 40 + [
    206,
    206,
    203,
    204,
    300,
    301,
    302,
    308,
    307,
    303,
    404,
    404,
    410,
    405,
    414,
    400,
    401,
    403,
    418,
    429,
    416,
    412,
]
_STATUSES += [500, 502, 503, 504, 501, 304, 299, 103, 511, 451]


def _spelled(chance: Random, word: str) -> str:
    return chance.choice([word, word, word, word.upper(), word.title()])


def _life(chance: Random) -> str:
    return chance.choice(_LIVES[:7] if chance.random() < 0.8 else _LIVES)


def _cache_control(chance: Random) -> str:
    said: list[str] = []
    for name, likely in (
        ("max-age", 0.8),
        ("s-maxage", 0.15),
        ("stale-while-revalidate", 0.2),
        ("stale-if-error", 0.2),
    ):
        while chance.random() < likely:
            said.append(f"{_spelled(chance, name)}={_life(chance)}")
            likely /= 4
    said += [_spelled(chance, flag) for flag in _FLAGS if chance.random() < 0.1]
    for name, likely in (("no-cache", 0.1), ("private", 0.06)):
        if chance.random() < likely:
            form = chance.random()
            names = chance.choice(_NAMES)
            said.append(name if form < 0.3 else f'{name}="{names}"' if form < 0.9 else f"{name}={names}")
    if chance.random() < 0.05:
        said.append(chance.choice(["no-store", "No-Store", "no-store=x", "must-understand, no-store"]))
    if chance.random() < 0.05:
        said.append(
            chance.choice(
                ["public=x", "", "=", "immutable=1", 'x="a, no-store, b"', "no-cache =1", '"', "must-revalidate=0"]
            )
        )
    chance.shuffle(said)
    return chance.choice([", ", ",", " ,\t"]).join(said)


def _targeted(chance: Random) -> tuple[str, list[tuple[str, object]] | None]:
    """A `CDN-Cache-Control` and what it means."""
    broken = [
        "",
        "max-age",
        "max-age=60,",
        "Max-Age=60",
        "max-age=60;;x",
        'no-cache="a',
        "max-age=60 no-store",
        "max-age=1.2345",
        "=1",
        "a=(1 2",
    ]
    if chance.random() < 0.25:
        text = chance.choice(broken)
        return text, [("max-age", BAD)] if text == "max-age" else None
    life = chance.choice([0, 1, 60, 600])
    choices: list[tuple[str, tuple[str, object] | None]] = [
        (f"max-age={life}", ("max-age", life)),
        (f"max-age={life};x=1", ("max-age", life)),
        (f"s-maxage={life}", ("s-maxage", life)),
        ("max-age=1.5", ("max-age", BAD)),
        ("max-age=(1 2);q", ("max-age", BAD)),
        ('max-age="x"', ("max-age", BAD)),
        ("no-store", ("no-store", None)),
        ("no-store=?0", None),
        ("no-cache", ("no-cache", None)),
        ('no-cache="set-cookie"', ("no-cache", ["set-cookie"])),
        ("private=x-a", ("private", BAD)),
        ("private=?1", ("private", None)),
        ("must-revalidate", ("must-revalidate", None)),
        ("public", ("public", None)),
        ("stale-while-revalidate=10", ("stale-while-revalidate", 10)),
        ("stale-if-error=60", ("stale-if-error", 60)),
        ("none", ("none", None)),
    ]
    picked = chance.sample(choices, chance.randint(1, 3))
    found: dict[str, object] = {}
    for text, meaning in picked:
        name = text.partition("=")[0].partition(";")[0]
        found.pop(name, None)  # the last member of a name stands
        if meaning is not None:
            found[name] = meaning[1]
    return chance.choice([", ", ",", " ,  "]).join(text for text, _meaning in picked), list(found.items())


def _response(chance: Random, case: Case) -> Lines:
    at = case.received_at
    lines: Lines = []
    if chance.random() < 0.85:
        lines.append(("cache-control", _cache_control(chance)))
        if chance.random() < 0.1:
            lines.append(("cache-control", _cache_control(chance)))
    if chance.random() < 0.9:
        lines.append(("date", chance.choice([_date(at), _date(at), _date(at - 30), _date(at + 30), "yesterday"])))
    if chance.random() < 0.2:
        lines.append(("expires", chance.choice([_date(at + 60), _date(at + 600), _date(at - 60), "0", "-1", "soon"])))
    if chance.random() < 0.5:
        lines.append(
            ("last-modified", chance.choice([_date(at - 36_000), _date(at - 60), _date(at - 50), _date(at + 99), "x"]))
        )
    if chance.random() < 0.6:
        lines.append(("etag", chance.choice(['"a"', '"a"', '"a"', '"a"', 'W/"a"', '""', "a", '"a""b"', 'w/"a"'])))
    if chance.random() < 0.3:
        lines.append(("age", chance.choice(["0", "5", "30", "30, 60", "x", "-3", "99999999999", "7;x", "1.5"])))
    if chance.random() < 0.3:
        lines.append(
            (
                "vary",
                chance.choice(
                    ["accept", "Accept-Encoding", "x-a", "accept, x-a", "accept-encoding", "X-A", "*", "x-a, *", ""]
                ),
            )
        )
    if chance.random() < 0.07:
        lines.append(("set-cookie", "a=b"))
    if case.status == 206 or chance.random() < 0.03:
        ranges = [
            "bytes 0-9/100",
            "bytes 0-9/100",
            "bytes 0-9/*",
            "bytes 9-0/100",
            "bytes */100",
            "bytes 0-9/9",
            "lines 0-9/100",
        ]
        lines.append(("content-range", chance.choice(ranges)))
    elif chance.random() < 0.8:
        lines.append(("content-length", "100"))
    if chance.random() < 0.15:
        text, case.targeted = _targeted(chance)
        lines.append(("cdn-cache-control", text))
    chance.shuffle(lines)
    return lines


def _date(at: int) -> str:
    return http_date(at).decode()


def _selecting(chance: Random) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, values in (
        ("accept", ["a/b", "a/b, c/d", "c/d ,a/b", "A/b"]),
        ("accept-encoding", ["gzip, br", "br,gzip", "GZIP,br", "gzip;q=1", "gzip ; q=1"]),
        ("x-a", ["1", "2", "1, 2", "1,2", ""]),
    ):
        if chance.random() < 0.6:
            found[name] = chance.choice(values[:2] if chance.random() < 0.6 else values)
    return found


def _wishes(chance: Random) -> dict[str, str]:
    if chance.random() < 0.5:
        return {"pragma": chance.choice(["no-cache", "x, No-Cache", "x"])} if chance.random() < 0.1 else {}
    said = []
    for name in ("max-age", "min-fresh", "max-stale", "stale-if-error"):
        if chance.random() < 0.3:
            said.append(f"{_spelled(chance, name)}={_life(chance)}")
    said += [flag for flag in ("max-stale", "no-cache", "only-if-cached", "no-store", "x") if chance.random() < 0.1]
    chance.shuffle(said)
    found = {"cache-control": ", ".join(said)}
    return found | ({"pragma": "no-cache"} if chance.random() < 0.1 else {})


def case_of(seed: int) -> Case:
    """One exchange and one later request. `now` is at, or a second beside, an instant where something turns."""
    chance = Random(seed)
    at = int(NOW)
    case = Case(
        status=chance.choice(_STATUSES),
        response=[],
        requested_at=at - chance.choice([0, 0, 1, 20]),
        received_at=at,
        now=at,
        method=chance.choice(["GET"] * 15 + ["HEAD", "POST"]),
        complete=chance.random() < 0.9,
        negative_ttl=chance.choice([0, 5, 5]),
        server_error_ttl=chance.choice([0, 0, 3]),
        ceiling=chance.choice([0, 100, 86_400]),
        stale_while_revalidate=chance.choice([0, 0, 20]),
        stale_if_error=chance.choice([0, 0, 20]),
    )
    case.response = _response(chance, case)
    case.asked = _selecting(chance)
    if chance.random() < 0.1:
        case.asked["authorization"] = "x"
    if chance.random() < 0.05:
        case.asked["cache-control"] = "no-store"
    if chance.random() < (0.9 if case.status == 206 else 0.05):
        case.asked["range"] = "bytes=0-9"
    case.later = (dict(case.asked) if chance.random() < 0.6 else _selecting(chance)) | _wishes(chance)
    case.later_method = chance.choice(["GET"] * 12 + ["HEAD", "POST", "BREW"])
    case.now = at + max(0, chance.choice(_turns(case)) + chance.choice([-1, 0, 0, 1]))
    return case


def _turns(case: Case) -> list[int]:
    """Seconds after receipt at which a decision may turn."""
    rest = int(oracle.lifetime(case)) - oracle.age(case, case.received_at)
    windows = [oracle.window_of(case, name) for name in ("stale-while-revalidate", "stale-if-error")]
    return [
        0,
        rest,
        rest,
        rest,
        *(rest + window for window in windows),
        rest + 10,
        rest + 60,
        rest - 10,
        rest - 60,
        10,
        60,
    ]
