"""The parts of an attack: its interface, and the victim that it is carried out on."""
