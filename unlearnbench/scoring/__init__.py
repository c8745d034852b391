"""The parts of a benchmark: log-likelihoods of choices, generated answers, ratings."""
