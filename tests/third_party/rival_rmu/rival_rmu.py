"""Never imported: its name is taken."""
