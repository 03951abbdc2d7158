"""Care of stores and runs: what lies there, whether it is whole, what can go, and people who withdraw."""
