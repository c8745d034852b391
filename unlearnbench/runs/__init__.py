"""A comparison's folder on disk, written whole or not at all, and the user's cache of scores."""
