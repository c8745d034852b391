"""Everything that is written down, as frozen and versioned models: recipes, manifests, items, cells, leaderboards, searches."""
