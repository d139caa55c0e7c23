"""`python -m attunement` is `lambda-attunement`."""

from attunement.cli import main

main()
