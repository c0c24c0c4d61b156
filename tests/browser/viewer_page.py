"""The viewer page of the tests is that of the benchmarks."""

from __future__ import annotations

from benchmarks.browser.viewer_page import PASSWORD, Received, ViewerPage, changed

__all__ = ["PASSWORD", "Received", "ViewerPage", "changed"]
