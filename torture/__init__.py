"""Proof by fire: a load on real gates, deaths of every part of them, and then the books (`make torture`)."""
