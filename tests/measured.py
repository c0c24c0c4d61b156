"""What tests measured (`record_property`) is said at the end of a run, also when all passed; of plays that were watched, a table.

It stands here and not beside the tests of players, because the process that ends a shared run collects no tests.
"""

from __future__ import annotations

import pytest

from tests.browser import summary
from tests.browser.runs import RUN, folder


def say(reporter: pytest.TerminalReporter) -> None:
    """A line for each property, the table, and the page of all plays in their folder."""
    reports = [*reporter.getreports("passed"), *reporter.getreports("failed")]
    said = [entry for report in reports for entry in report.user_properties]
    for name, value in said:
        if name != RUN:
            reporter.write_line(f"{name}: {value}")
    runs = {str(value) for name, value in said if name == RUN}
    if runs:
        (folder() / "index.html").write_text(summary.page(summary.read(folder())), encoding="utf-8")
        reporter.write_line(f"plays that were watched, each with its timeline in {folder()}/index.html:")
        reporter.write_line(summary.table([result for result in summary.read(folder()) if result.run in runs]))
