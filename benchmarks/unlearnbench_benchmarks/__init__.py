"""The benchmarks that come with unlearnbench; each module is a plugin like any other."""
