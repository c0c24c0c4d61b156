"""The whole story on one machine: real footage in, a plan, fills, viewers, a dead appliance, and a table that says what it was
good for. Uses the public APIs of the services that `onebox` starts, and `player` to watch.
"""
