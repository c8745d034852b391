"""What comparisons and searches leave, in Python's hands: as frames, as figures, in a notebook."""
