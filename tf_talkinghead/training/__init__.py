"""The training loop, the meta-learning step and personalisation."""
