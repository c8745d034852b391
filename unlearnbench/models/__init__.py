"""A language model in memory: loaded, cut, restored; its blocks, its head, adapters, partial forwards."""
