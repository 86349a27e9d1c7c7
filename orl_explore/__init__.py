"""ORL Explore: run, see, debug and teach object-level representation learning (ORL)."""

__version__ = "0.1.0"
