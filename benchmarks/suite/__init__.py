"""What every benchmark of several sections needs once: how sections are run, what a run leaves out, and where its results go."""
