"""Plugins: the specs they offer, how they are found, loaded and scaffolded, and the code that an identity covers."""
