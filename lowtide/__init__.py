"""The command `lowtide`: a thin dispatcher that imports a room only when it is asked for. Nobody imports this package."""
