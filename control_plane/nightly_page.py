"""A nightly report as one HTML page: no script, no network, nothing beside it. Pure: report in, text out."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Sequence
from html import escape

from contracts.nightly import FileChange, NightlyReport
from contracts.reports import Purpose, Source
from control_plane.plots import Band, Layer, scatter, size_words, stacked_bars

HOUR_S = 3600
LABEL_EVERY = 4
WORDS = {
    Source.HIT: "from the store",
    Source.PEER: "from a peer",
    Source.TIER: "from another site",
    Source.ORIGIN: "from the origin",
}
FETCHED = (Source.PEER, Source.TIER, Source.ORIGIN)
ACROSS = (Source.TIER, Source.ORIGIN)
STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #fff; --ink: #1d2327; --faint: #5d676d; --rule: #e2e4e1; --band: #eef3f3;
  --bad: #b3261e; --hit: #0b6e75; --peer: #5b9bd0; --tier: #e0a030; --origin: #c8553d;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181a; --card: #1b2124; --ink: #e4e8e8; --faint: #97a3a7; --rule: #2c3438; --band: #1f2a2d;
  --bad: #f0857b; --hit: #2f99a1; --peer: #6aa7dc; --tier: #d9a441; --origin: #d8705a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); }
main { max-width: 84rem; margin: 0 auto; padding: 1.25rem 1.5rem 3rem; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
p { margin: .25rem 0; } .faint { color: var(--faint); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1px; background: var(--rule); border: 1px solid var(--rule); margin: 1rem 0; }
dl > div { background: var(--card); padding: .75rem 1rem; } dt, small { color: var(--faint); font-size: .85rem; } dd { margin: 0; font-size: 1.4rem; }
section { background: var(--card); border: 1px solid var(--rule); padding: 1rem; margin: 0 0 1rem; min-width: 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; align-items: start; }
.two section { margin: 0; } .two + *, section + .two { margin-top: 1rem; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--faint); font-size: 12px; }
svg .grid { stroke: var(--rule); } svg .limit { stroke: var(--bad); stroke-dasharray: 5 4; } svg .band { fill: var(--band); }
svg circle { fill: var(--hit); fill-opacity: .55; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .5rem 0 0; padding: 0; list-style: none; color: var(--faint); font-size: .85rem; }
.key i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--faint); font-weight: 500; font-size: .85rem; } td.n, th.n { text-align: right; white-space: nowrap; } td { overflow-wrap: anywhere; min-width: 6rem; }
@media (max-width: 30rem) { main { padding: 1rem .75rem 2rem; } svg text { font-size: 16px; } td:first-child { min-width: 11rem; } }
"""


def page(report: NightlyReport) -> str:
    """The whole document."""
    title = f"{report.site_name}, night of {report.day}"
    plan = f"plan {report.plan_number} ({report.plan_cause})" if report.plan_number else "no plan"
    times = f"{_at(report.opens_at, report)} to {_at(report.closes_at, report)} {report.timezone}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='faint'>Fill window {escape(times)}, {escape(plan)}. "
        f"Made {escape(_at(report.made_at, report))}.</p>"
        f"{_figures(report)}<div class='two'>{_served(report)}{_filled(report)}</div>"
        f"<div class='two'>{_forecast(report)}{_failures(report)}</div>"
        f"<div class='two'>{_changes('Gained', report.gained, report.gained_files)}"
        f"{_changes('Let go', report.lost, report.lost_files)}</div></main></body></html>\n"
    )


def _figures(report: NightlyReport) -> str:
    filled = {source: _filled_by(report, source) for source in FETCHED}
    total, across = sum(filled.values()), sum(filled[source] for source in ACROSS)
    seconds = max(1.0, report.closes_at - report.opens_at)
    expected = report.expected_inside_share
    return "<dl>" + "".join(
        (
            _figure(
                "Served from inside",
                _percent(report.inside_share),
                f"{_percent(expected)} expected" if expected is not None else "nothing was expected yet",
            ),
            _figure(
                "Filled",
                size_words(total),
                f"{size_words(across)} of it from outside the site",
            ),
            _figure(
                "Window use",
                _percent(total * 8 / seconds / report.rate_bps),
                f"of {_rate(report.rate_bps)}" + _volume_words(report, total),
            ),
            _figure(
                "Orders done",
                f"{report.orders_done} of {report.orders}",
                f"{report.orders_failed} failed" if report.orders_failed else "none failed",
            ),
            _figure(
                "Misses",
                f"{report.missed_requests:,}",
                f"of {report.client_requests:,} requests of players",
            ),
            _figure(
                "Forecast error",
                _percent(report.forecast_error),
                f"{size_words(report.forecast_bytes)} expected, {size_words(report.forecast_served_bytes)} served",
            ),
        )
    ) + "</dl>"  # fmt: skip


def _volume_words(report: NightlyReport, total: int) -> str:
    if not report.volume_bytes:
        return ""
    return f", {_percent(total / report.volume_bytes)} of {size_words(report.volume_bytes)}"


def _figure(name: str, value: str, more: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><small>{escape(more)}</small></div>"


def _served(report: NightlyReport) -> str:
    hours = _hours(report)
    layers = _layers(report, hours, Purpose.CLIENT, tuple(Source))
    plot = stacked_bars(
        f"Bytes for players in each hour by source; {_percent(report.inside_share)} came from inside",
        _labels(hours, report),
        layers,
    )
    return f"<section><h2>To players, by the hour</h2>{plot}{_key(layers)}</section>"


def _filled(report: NightlyReport) -> str:
    hours = _hours(report)
    layers = _layers(report, hours, Purpose.FILL, FETCHED)
    cap = report.rate_bps / 8 * HOUR_S
    largest = max((sum(layer.values[place] for layer in layers) for place in range(len(hours))), default=0.0)
    band = Band((report.opens_at - hours[0]) / HOUR_S, (report.closes_at - hours[0]) / HOUR_S) if hours else None
    plot = stacked_bars(
        "Bytes filled in each hour by source; the window has a background",
        _labels(hours, report),
        layers,
        band=_inside(band, len(hours)),
        # A cap far above everything would flatten the plot.
        limit=cap if largest > cap / 20 else None,
        limit_name=f"cap {_rate(report.rate_bps)}",
    )
    return f"<section><h2>Filled, by the hour</h2>{plot}{_key(layers)}</section>"


def _inside(band: Band | None, count: int) -> Band | None:
    return Band(max(0.0, band.first), min(float(count), band.last)) if band is not None else None


def _forecast(report: NightlyReport) -> str:
    head = "<section><h2>Forecast and what was served</h2>"
    if not report.forecast_plan_number:
        return f"{head}<p class='faint'>No plan was made for the day that ended with this window.</p></section>"
    points = [(point.forecast_bytes, float(point.served_bytes), point.key) for point in report.points]
    plot = scatter(
        "Each file's expected bytes against the bytes that were served; on the dashed line they are equal",
        points,
        "expected",
        "served",
    )
    words = f"Plan {report.forecast_plan_number}; the {len(points)} largest files. Above the dashed line more was watched than expected."
    return f"{head}{plot}<p class='faint'>{escape(words)}</p></section>"


def _failures(report: NightlyReport) -> str:
    head = "<section><h2>Orders that failed</h2>"
    if not report.failures:
        return f"{head}<p class='faint'>None.</p></section>"
    rows = "".join(
        f"<tr><td class='bad'>{escape(row.reason)}</td><td class='n'>{row.orders}</td><td>"
        f"{'<br>'.join(escape(line) for line in row.examples)}</td></tr>"
        for row in report.failures
    )
    return (
        f"{head}<div class='wide'><table><thead><tr><th>reason</th><th class='n'>orders</th><th>for example</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _changes(name: str, rows: Sequence[FileChange], count: int) -> str:
    head = f"<section><h2>{escape(name)}: {count:,} {'file' if count == 1 else 'files'}</h2>"
    if not rows:
        return f"{head}<p class='faint'>None.</p></section>"
    body = "".join(
        f"<tr><td>{escape(row.key.partition('|')[2] or row.key)}</td><td class='n'>{size_words(row.size_bytes)}</td>"
        f"<td class='n'>{size_words(row.forecast_bytes)}</td><td class='n'>{size_words(row.served_bytes)}</td></tr>"
        for row in rows
    )
    more = f"<p class='faint'>The first {len(rows)} of them.</p>" if count > len(rows) else ""
    return (
        f"{head}<div class='wide'><table><thead><tr><th>file</th><th class='n'>size</th><th class='n'>expected</th>"
        f"<th class='n'>served the day before</th></tr></thead><tbody>{body}</tbody></table></div>{more}</section>"
    )


def _hours(report: NightlyReport) -> list[int]:
    """The hours of the day up to the closing, each by its beginning."""
    last = int(report.closes_at - 1) // HOUR_S * HOUR_S
    return [last - HOUR_S * back for back in reversed(range(24))]


def _layers(report: NightlyReport, hours: Sequence[int], purpose: Purpose, sources: Sequence[Source]) -> list[Layer]:
    amounts = {(row.source, row.hour): row.bytes for row in report.hours if row.purpose is purpose}
    return [
        Layer(WORDS[source], f"var(--{source.value})", [float(amounts.get((source, hour), 0)) for hour in hours])
        for source in sources
    ]


def _labels(hours: Sequence[int], report: NightlyReport) -> list[str]:
    zone = zoneinfo.ZoneInfo(report.timezone)
    clock = [datetime.datetime.fromtimestamp(hour, zone) for hour in hours]
    return [f"{moment:%H:%M}" if moment.hour % LABEL_EVERY == 0 else "" for moment in clock]


def _key(layers: Sequence[Layer]) -> str:
    rows = "".join(
        f"<li><i style='background:{layer.colour}'></i>{escape(layer.name)} {size_words(sum(layer.values))}</li>"
        for layer in layers
    )
    return f"<ul class='key'>{rows}</ul>"


def _filled_by(report: NightlyReport, source: Source) -> int:
    """In the hours of the window."""
    return sum(
        row.bytes
        for row in report.hours
        if row.purpose is Purpose.FILL
        and row.source is source
        and report.opens_at - HOUR_S < row.hour < report.closes_at
    )


def _at(instant: float, report: NightlyReport) -> str:
    return f"{datetime.datetime.fromtimestamp(instant, zoneinfo.ZoneInfo(report.timezone)):%d %b %H:%M}"


def _rate(bps: float) -> str:
    return f"{bps / 1e9:.3g} Gb/s" if bps >= 1e9 else f"{bps / 1e6:.3g} Mb/s"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
