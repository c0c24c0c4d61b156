"""The origin: takes video files in, makes titles of them, publishes them, and serves media as the last resort.

Two processes share a folder: the service (`app.origin_service`: uploads, media doors) and workers (`app.worker_service`: the
stages). What decides is pure: states, probe, ladder, encode, boxes, package, check, ranges. Around it, from below: errors,
config → programs, folders, objects, records → jobs, uploads, tokens, announce → publish, stages, media → metrics, worker,
api → app → cli.
"""
