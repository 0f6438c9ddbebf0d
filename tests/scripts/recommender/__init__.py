"""A package that is run as one: python -m recommender.train."""
