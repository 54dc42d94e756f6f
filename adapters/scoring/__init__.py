"""Learning: models trained with scikit-learn and taken apart into data; rules from files."""
