"""The keeper: the only writer of an appliance (DESIGN §3.1). It fetches, fills, evicts, reports and takes orders.

How it is started (by the supervisor, with `exec`, or by a test)::

    python -m oca.keeper --settings-fd N --board-fd N [--ready-fd N]

`--settings-fd`: a memfd (or file) with `chassis.config.encode(oca.config.Appliance)`; `--board-fd`: the store's board;
`--ready-fd`: gets one line `ready\\n` when the disks are open and the link accepts workers, then it is closed. Enrolment goes on
behind it: a box without a certificate answers misses with a clear failure. SIGTERM stops it with the disks clean (exit 0),
SIGINT is the supervisor's business. Exit 2: settings or disks that somebody has to look at (the log says which). It also stops when its parent dies.

What it reads and writes in `state_dir` (all written whole and renamed, so that a reader sees the old or the new):

| path | what |
|---|---|
| `run/keeper.sock` | the link (`oca.link.messages`); a worker connects by `oca.link.server.connect(state_dir)` |
| `run/passing.sock` | where workers hand over the other end of each exchange that is not stored (`oca.link.handing`) |
| `run/listening.json` | written by the supervisor before it starts children: `oca.link.files.Listening` |
| `run/keeper.metrics` | Prometheus text, every second; the supervisor appends it to its own |
| `disks.json`, `run/disks.json` | written by the supervisor: what `lowtide oca disk` changed, kept over restarts; the roster of the moment (`oca.link.roster`) |
| `run/keeper.json` | `oca.link.files.KeeperStatus`, every second, for `/readyz` and `lowtide oca status` |
| `tls/cert.pem`, `tls/key.pem`, `tls/ca.pem` | from enrolment; workers load them at start and on `Reload(TLS)` |
| `names/` | key and certificate of the public host name (`oca.keeper.names`); workers look once a second |
| `keys.json` | `contracts.keys.KeySet`; workers load it at start and on `Reload(KEYS)` |
| `contact.json` | `oca.link.files.Contact`, every few seconds while the control plane answers; workers look once a second |
| `purge.json` | `oca.link.files.PurgeReached`; the supervisor reads it at start |
| `desired.json` | `oca.link.files.Desired`; workers load it at start and on `Reload(STATE)` |
| `plan.json`, `fill.json` | the plan and what it has cost so far |
| `upstreams.json`, `digests/`, `spool.json` | parents for misses, signed digest lists, reports not yet taken |
"""
