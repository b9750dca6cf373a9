"""Pictures and their labels: the sets that ship, the user's own, and other libraries'."""
