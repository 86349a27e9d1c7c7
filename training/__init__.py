"""GPU training of the three ORL stages; imports `orl_explore`, never the other way round."""
