"""How good are features for other tasks? One module a protocol, with the settings of the literature as defaults."""
