"""The whole system on one machine: which processes with which settings, started in order, enrolled, restarted, stopped.

`topology` and `layout` decide; `processes` and `app` act. Used by `lowtide up`, the demo and the system tests.
"""
