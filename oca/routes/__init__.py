"""What the ISP's routers announce to this box, and how the control plane hears of it (docs/routes.md).

The BGP session is held by a daemon of its own, BIRD 2 or ExaBGP 5; a task of the keeper reads what it learnt and reports changes.

| module | what |
|---|---|
| `table` | what a session hears: the port `Sessions`, its values, the error of a daemon that cannot be read |
| `bird` | BIRD's configuration from the settings, and its answers, as text |
| `birdc` | the line to BIRD: its control socket |
| `exabgp` | ExaBGP's configuration, and its events, as text |
| `exafeed` | the line from ExaBGP: a socket that its helper writes to |
| `forward` | that helper: a process that ExaBGP starts |
| `telling` | which report is due, on top of what the control plane has |
| `following` | the task: reads, reports, writes `run/routes.json` |
"""
