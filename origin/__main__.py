"""`python -m origin`: the same commands as `lowtide origin`."""

from origin.cli import app

if __name__ == "__main__":
    app(prog_name="origin")
