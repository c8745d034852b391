"""The unlearning methods that come with unlearnbench; each module is a plugin like anybody's."""
