"""`make bench-serve`: what a request costs our appliance's worker beside nginx, Varnish and Traffic Server (DESIGN §8).

`workload`, `peers`, `rows` and `report` decide and are pure; `processes`, `appliance`, `running`, `load` and `connections` act.
"""
