"""From a recipe to jobs: everything that can be known before anything is computed."""
