"""What a benchmark is made of: log-likelihoods of choices, generated answers, ratings."""
