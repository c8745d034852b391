"""The embedded world: a generator, its data and a small model that knows it by heart."""
