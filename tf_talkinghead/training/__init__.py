"""Meta-learning (Sec. 3.2), and the step and loop that personalisation shares."""
