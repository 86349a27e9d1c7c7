"""How good a step was: diagnostics, probes, comparisons, published figures."""
