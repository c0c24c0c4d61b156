"""The supervisor of an appliance (DESIGN §3.1): opens the listening sockets for life, starts keeper and workers by `exec`, restarts what
dies, and answers `/healthz`, `/readyz`, `/metrics` for them.

    from oca.supervisor.app import run
    raise SystemExit(run(settings, ready_fd=None))       # `lowtide oca run` does this

    slots      which worker serves which slot, and who is started when: a pure table
    rolling    a rolling restart over that table, pure
    commands   what `lowtide oca restart` asks and sees
    sockets    one SO_REUSEPORT listening socket per slot and listener
    children   exec, readiness, death
    status     readiness in words, metrics of all processes in one text
    app        the composition root, as far as workers need it
    service    the rest: status listener, checks, commands

It imports neither worker nor keeper. What goes down with `exec` is said in `oca.link.handover` and `oca.keeper`.
"""
