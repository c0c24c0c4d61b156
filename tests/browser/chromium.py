"""The browser of the tests is that of the benchmarks."""

from __future__ import annotations

from benchmarks.browser.chromium import Tab, js, open_tab, unexpected

__all__ = ["Tab", "js", "open_tab", "unexpected"]
