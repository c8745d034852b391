"""What a method is made of: its base class, losses, optimizers, the frozen base, representations."""
