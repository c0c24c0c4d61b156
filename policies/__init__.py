"""Eviction and admission, pure: no clock, no I/O, no randomness. Shared by the store and the simulator.

`eviction.Policy` is the port: `on_insert(key, size)`, `on_access(key, count)`, `remove(key)`, `victims(need_bytes)`;
`lru.Lru`, `sieve.Sieve`, `s3fifo.S3Fifo` implement it; `eviction.make_policy(PolicyName.LRU, capacity_bytes)` picks one.
`admission` decides whether an object that was asked for is worth storing. Keys are any hashables; sizes are bytes.
"""
