"""A language model as it is handled here: loaded, cut, restored; its blocks, its head, adapters, partial forwards."""
