"""What TOFU and MUSE have in common since OpenUnlearning evaluates both: templates, profiles, items and figures."""
