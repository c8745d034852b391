"""The machine underneath: durable files, journals, memory, process state; it knows nothing of unlearning."""
