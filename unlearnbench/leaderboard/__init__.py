"""From cells to rows: outcomes, resampling, context, build, verdicts, ranking; several runs merged, compared, verified."""
