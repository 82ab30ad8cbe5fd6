"""``python -m vizsla``: the same as the command ``vizsla``."""

from vizsla.cli.main import main

main()
