"""Training: objectives, the loop, averages, schedules, runs that can be resumed."""
