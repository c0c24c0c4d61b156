"""Small services around the delivery: auth, catalog, recommendation, playback. Each is a folder and a process of its own.

They know each other only over HTTP with `contracts` types. What more than one of them needs lies beside the folders:
`signing` (a service's own ES256 key), `bounded` (a table that forgets its oldest), `launching` (one process, one or
several services), `cli`.
"""
