"""Multiple choice by log-likelihood: prompts, packed forwards, prefix trees."""
