"""Practice scenes with ground truth, and what they are made of."""
