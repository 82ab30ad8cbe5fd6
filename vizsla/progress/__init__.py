"""How a job is watched while it runs: bars in a terminal, lines in a file, a cell of a notebook."""
