"""`python -m unlearnbench`."""

from unlearnbench.cli import main

main()
