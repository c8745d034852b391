"""Rating answers with a language model: prompts, judges behind an API or in memory, and judgments that are kept."""
