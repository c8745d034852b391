"""Cannot be imported."""

raise RuntimeError("no GPU of the right kind")
