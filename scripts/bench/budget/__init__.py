"""What `scripts/bench/budgets` is made of. Python's standard library only."""
