"""Tuning: the same number of trials for every method, chosen on one half of the questions and reported on the other."""
