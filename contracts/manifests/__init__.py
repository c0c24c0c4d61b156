"""Manifests as documents: DASH (XML) and HLS multivariant playlists, read and written without losing what is not known here.

The origin publishes them beside a title's files, playback makes them personal. A document comes from the origin's packager
or from whoever put it into the store: BadManifest is the one error that leaves these modules, whatever the bytes are.
"""
