"""Scoring: models, scores, batches, trainings, experiments, checks. No I/O."""
