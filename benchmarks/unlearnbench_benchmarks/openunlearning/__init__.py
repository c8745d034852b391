"""Templates, profiles, items and figures of TOFU and MUSE, as OpenUnlearning evaluates both."""
