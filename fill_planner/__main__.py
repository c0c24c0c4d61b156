"""`python -m fill_planner`."""

from fill_planner.cli import app

if __name__ == "__main__":
    app(prog_name="lowtide fill-planner")
