"""What one asks of unlearnbench, from the command line as from Python: compare, evaluate, tune."""
