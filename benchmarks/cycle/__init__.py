"""The nightly cycle by itself: real processes live through compressed days with generated viewers (docs/fill-cycle.md).

Two sites with the same disks see the same views. Site `a` follows the nightly plan, site `b` only pulls through. Nothing here makes a plan, starts a
fill or tells anybody what is popular: the control plane's schedule, the keepers' windows and the appliances' own reports do.

catalogue (what there is, who asks for it when) → standard (what an ideal LRU would have done) → origin, town (processes) → viewers (requests) →
watching (counters by time) → days (rows and laws) → report (JSON, page, plot). `python -m benchmarks.cycle` runs it.
"""
