"""The parts of a method: its base class, losses, optimizers, the frozen base, representations."""
