"""Scoring: the workflows of scores, batches, trainings and checks."""
