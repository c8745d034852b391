"""What several tests share: made-up comparisons, streams, formulas, small runs, a judge's server."""
