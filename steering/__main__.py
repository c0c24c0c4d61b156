"""`python -m steering`."""

from steering.cli import app

if __name__ == "__main__":
    app(prog_name="lowtide steering")
