"""Eviction and admission, pure: no clock, no I/O, no randomness. Shared by the store and the simulator.

`eviction.Policy` is the port: `on_insert(key, size)`, `on_access(key, count)`, `remove(key)`, `victims(need_bytes)`;
`lru.Lru`, `sieve.Sieve`, `s3fifo.S3Fifo` implement it; `eviction.make_policy(PolicyName.LRU, capacity_bytes)` picks one.
`admission` decides whether an object that was asked for is worth a lasting place (by `frequency` and size), `classes.Classed` keeps what is
not, and what will be stale soon, in a queue that goes first. Keys are any hashables; sizes are bytes.

`trace`, `traceformats`, `replay`, `belady`, `comparison`: replaying traces through these very objects (`lowtide oca simulate`).
"""
