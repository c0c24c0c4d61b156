"""A browser and the viewer page in it, for whoever measures or tests."""
