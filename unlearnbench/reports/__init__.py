"""Ways to show a leaderboard. Each report turns `Leaderboard` records into text; none of them prints."""
