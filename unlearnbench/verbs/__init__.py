"""The verbs of unlearnbench, for the command line and for Python: compare, evaluate, tune."""
