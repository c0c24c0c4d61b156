"""The simulator: what plans and caches would have done with a demand that somebody made up, traced, or recorded (DESIGN §4.5).

Two rooms that share no code, held by a house test: the *generator* (`shape`, `catalogue`, `demand`) knows the truth, and what plans (`planning`, with
the planner's own forecast and placement) sees only past reports and the release calendar (`catalogue.Announced`). Between them `replay` serves each
request from pins and from the policies of `policies/`, event by event; `fluid` and `regions` do the
same by expected values for what is too large for single requests.

Floors: shape → catalogue, scenario → demand → planning, replay, optimum, fluid → figures → run, regions → plot, telling, whatif; `recorded` reads files; cli.
"""
