"""Finished comparisons and searches in Python: as frames, as figures, in a notebook."""
