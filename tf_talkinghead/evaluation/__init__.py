"""Evaluation (Sec. 4): protocol, methods and baselines, measures, and the report."""
